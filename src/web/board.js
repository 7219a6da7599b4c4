// Renews the numbers of an open page, and says so when nothing is heard any more.
"use strict";
(() => {
  const SILENT_AFTER_MS = 8000;
  const main = document.getElementById("numbers");
  const lost = document.getElementById("lost");
  let heard = Date.now();
  let source;

  function alive() {
    heard = Date.now();
    lost.hidden = true;
    document.body.classList.remove("is-lost");
  }

  // Whoever stands on a link stays on it.
  function renew(content) {
    const at = document.activeElement;
    const address = main.contains(at) ? at.getAttribute("href") : null;
    main.innerHTML = content;
    if (address !== null) {
      const links = [...main.querySelectorAll("a")];
      links.find((link) => link.getAttribute("href") === address)?.focus({ preventScroll: true });
    }
  }

  function listen() {
    source = new EventSource(document.body.dataset.live);
    source.addEventListener("content", (event) => { alive(); renew(event.data); });
    source.addEventListener("alive", alive);
  }

  listen();
  setInterval(() => {
    if (Date.now() - heard > SILENT_AFTER_MS) {
      lost.hidden = false;
      document.body.classList.add("is-lost");
    }
    // A browser gives up for good when it was answered with an error.
    if (source.readyState === EventSource.CLOSED) listen();
  }, 1000);
})();
