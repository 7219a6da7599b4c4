//! deploy/kubernetes: what kustomize makes of base and example is valid to Kubernetes' own schemas, unknown keys refused,
//! and its parts mean each other. PodMonitor is no kind of Kubernetes: its schema is not here, so its shape is checked by
//! the fields that the Prometheus Operator documents.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use super::{documents, python, said, texts};
use crate::process;
use crate::tools::{printed, repository};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("deployment::{name}"), test);
    vec![
        trial("kubernetes_takes_the_manifests", || each(valid)),
        trial("kubernetes_parts_mean_each_other", || each(parts)),
        trial("kubernetes_pods_are_restricted", || each(restricted)),
        trial("kubernetes_configurations_are_right", || each(configurations)),
        trial("the_pod_monitor_is_one", || each(monitor)),
    ]
}

/// What kustomize makes of a folder.
struct Manifests {
    folder: &'static str,
    documents: Vec<Value>,
}

/// Runs a test on base and example.
fn each(test: fn(&Path, &Manifests) -> Result<(), Failed>) -> Result<(), Failed> {
    let Some(python) = python("deploy/kubernetes by kubectl and kubernetes-validate")? else { return Ok(()) };
    for folder in ["base", "overlays/example"] {
        let made = printed(Command::new(python.join("kubectl")).arg("kustomize").arg(at(folder)))?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("made.yaml");
        std::fs::write(&file, made)?;
        let manifests = Manifests { folder, documents: documents(&python, &file)? };
        test(&python, &manifests).map_err(|error| format!("{folder}: {}", error.message().unwrap_or_default()))?;
    }
    Ok(())
}

fn at(folder: &str) -> std::path::PathBuf {
    repository("deploy/kubernetes").join(folder)
}

impl Manifests {
    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The one of its kind.
    fn one<'a>(&'a self, kind: &'a str) -> &'a Value {
        let found: Vec<&Value> = self.of(kind).collect();
        assert_eq!(found.len(), 1, "{}: one {kind}", self.folder);
        found[0]
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["spec"]["containers"].as_array().expect("containers");
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The configuration that the pods read.
    fn toml(&self) -> &str {
        self.one("ConfigMap")["data"]["touchstone.toml"].as_str().expect("touchstone.toml")
    }
}

fn valid(python: &Path, manifests: &Manifests) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let mut validate = Command::new(python.join("kubernetes-validate"));
    validate.arg("--strict");
    for (number, document) in manifests.documents.iter().enumerate() {
        let file = directory.path().join(format!("{number}.yaml"));
        std::fs::write(&file, document.to_string())?;
        validate.arg(file);
    }
    let output = validate.output()?;
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for document in &manifests.documents {
        let (kind, name) = (document["kind"].as_str().ok_or("a kind")?, document["metadata"]["name"].as_str());
        let passed = format!("passed for resource {}/{} ", kind.to_lowercase(), name.ok_or("a name")?);
        // What has no schema is passed over with a warning.
        assert_eq!(said.contains(&passed), kind != "PodMonitor", "{kind}: {said}");
    }
    Ok(())
}

/// Whether the pods carry every label of a selector, and it asks for one at least.
fn selects(selector: &Value, manifests: &Manifests) {
    let labels = &manifests.pod()["metadata"]["labels"];
    let asked = selector.as_object().expect("labels");
    assert!(!asked.is_empty() && asked.iter().all(|(name, value)| labels[name] == *value), "{selector} in {labels}");
}

fn parts(_: &Path, manifests: &Manifests) -> Result<(), Failed> {
    let set = manifests.one("StatefulSet");
    let service = manifests.one("Service");
    let policy = &manifests.one("NetworkPolicy")["spec"];
    for selector in [
        &set["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &policy["podSelector"]["matchLabels"],
        &manifests.one("PodMonitor")["spec"]["selector"]["matchLabels"],
    ] {
        selects(selector, manifests);
    }
    for spread in manifests.pod()["spec"]["topologySpreadConstraints"].as_array().ok_or("a spread")? {
        selects(&spread["labelSelector"]["matchLabels"], manifests);
    }
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert_eq!(service["spec"]["clusterIP"], "None", "it only names the pods");
    assert_eq!(manifests.pod()["spec"]["serviceAccountName"], manifests.one("ServiceAccount")["metadata"]["name"]);

    // The port, by its name everywhere.
    let container = manifests.container();
    let ports = container["ports"].as_array().ok_or("ports")?;
    assert!(ports.len() == 1 && ports[0]["name"] == "http");
    let listen = format!("listen = \"0.0.0.0:{}\"", ports[0]["containerPort"]);
    assert!(manifests.toml().contains(&listen), "{listen}");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
    assert_eq!(policy["ingress"][0]["ports"][0]["port"], "http");
    for (probe, page) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], serde_json::json!({"path": page, "port": "http"}), "{probe}");
    }

    // The pod's name is the instance's, and the environment goes over the file.
    let instance = serde_json::json!({
        "name": "TOUCHSTONE__SERVICE__INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}
    });
    assert!(container["env"].as_array().is_some_and(|variables| variables.contains(&instance)));

    // Every volume is mounted, and what is mounted is a volume.
    let volumes = manifests.pod()["spec"]["volumes"].as_array().ok_or("volumes")?;
    let volumes: BTreeSet<&str> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
    let mounted = container["volumeMounts"].as_array().ok_or("mounts")?;
    assert_eq!(volumes, mounted.iter().filter_map(|mount| mount["name"].as_str()).collect());
    let config = manifests.pod()["spec"]["volumes"].as_array().into_iter().flatten();
    let config = config.filter_map(|volume| volume["configMap"]["name"].as_str()).next();
    assert_eq!(config, manifests.one("ConfigMap")["metadata"]["name"].as_str(), "the generated name, with its hash");
    assert_eq!(texts(&container["args"]), ["run", "--config", "/etc/touchstone/touchstone.toml"]);

    // A roll and a drain take one at a time, and never the last.
    assert_eq!(manifests.one("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    assert!(set["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas >= 2));
    // 20 s for the workers, and 10 s for a transaction that hangs.
    assert!(manifests.pod()["spec"]["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds > 30));
    let namespaced = manifests.documents.iter().filter(|document| document["kind"] != "Namespace");
    let namespaces: BTreeSet<Option<&str>> =
        namespaced.map(|document| document["metadata"]["namespace"].as_str()).collect();
    assert_eq!(namespaces.len(), 1, "all in one namespace: {namespaces:?}");
    Ok(())
}

/// The pod security standard `restricted`, by its list, and what goes beyond it.
fn restricted(_: &Path, manifests: &Manifests) -> Result<(), Failed> {
    let (pod, container) = (&manifests.pod()["spec"], manifests.container());
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532, "the image's user");
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let security = serde_json::json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
    });
    assert_eq!(container["securityContext"], security);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod.get(key).is_none(), "{key}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false, "no variables of other services");
    for mount in container["volumeMounts"].as_array().ok_or("mounts")? {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    for variable in container["env"].as_array().ok_or("variables")? {
        let name = variable["name"].as_str().ok_or("a name")?;
        assert!(!name.contains("PASSWORD") && variable["valueFrom"].get("secretKeyRef").is_none(), "{name}");
    }
    assert!(container["resources"]["limits"].get("memory").is_some());
    assert!(container["resources"]["limits"].get("cpu").is_none(), "one that throttles makes commits late");
    assert!(["cpu", "memory"].iter().all(|what| container["resources"]["requests"].get(what).is_some()));
    for namespace in manifests.of("Namespace") {
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    }
    let policy = &manifests.one("NetworkPolicy")["spec"];
    assert_eq!(texts(&policy["policyTypes"]), ["Ingress", "Egress"], "what is not named is denied, both ways");
    Ok(())
}

/// The program takes the configuration, every file that it names is mounted, and every broker may be reached.
fn configurations(_: &Path, manifests: &Manifests) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let mut toml = manifests.toml().to_string();
    let mounts: Vec<&str> = manifests.container()["volumeMounts"]
        .as_array()
        .ok_or("mounts")?
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    for line in manifests.toml().lines().filter(|line| line.contains("_file = \"/")) {
        let path = Path::new(line.split('"').nth(1).ok_or("a path")?);
        let folder = path.parent().ok_or("a folder")?.to_string_lossy();
        assert!(mounts.contains(&&*folder), "{} is in none of {mounts:?}", path.display());
        // In its place a file that is here.
        let here = directory.path().join(path.file_name().ok_or("a name")?);
        std::fs::write(&here, "secret")?;
        toml = toml.replace(&*path.to_string_lossy(), &here.to_string_lossy());
    }
    let file = directory.path().join("touchstone.toml");
    std::fs::write(&file, &toml)?;
    let pod = [("TOUCHSTONE__SERVICE__INSTANCE", "touchstone-0")];
    let checked = process::run_with(&["check", "--config", &file.to_string_lossy()], &pod);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let checked = String::from_utf8(checked.stdout)?;
    assert!(checked.contains("instance = \"touchstone-0\""), "{checked}");

    let servers = toml.lines().find_map(|line| line.strip_prefix("bootstrap_servers = ")).ok_or("servers")?;
    let wanted: BTreeSet<&str> =
        servers.trim_matches('"').split(',').filter_map(|server| Some(server.rsplit_once(':')?.1)).collect();
    let rules = manifests.one("NetworkPolicy")["spec"]["egress"].as_array().ok_or("egress")?;
    let ports = rules.iter().flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
    let allowed: BTreeSet<String> = ports.map(|port| port["port"].to_string()).collect();
    assert!(wanted.iter().all(|port| allowed.contains(*port)), "{wanted:?} in {allowed:?}");
    assert!(allowed.contains("53"), "names are asked for");
    Ok(())
}

/// The fields that the operator documents for a PodMonitor, as far as one may want them here.
const OF_SPEC: [&str; 8] = [
    "attachMetadata",
    "jobLabel",
    "labelLimit",
    "namespaceSelector",
    "podMetricsEndpoints",
    "podTargetLabels",
    "sampleLimit",
    "selector",
];
const OF_ENDPOINT: [&str; 9] = [
    "filterRunning",
    "honorLabels",
    "interval",
    "metricRelabelings",
    "path",
    "port",
    "relabelings",
    "scheme",
    "scrapeTimeout",
];

fn monitor(_: &Path, manifests: &Manifests) -> Result<(), Failed> {
    let monitor = manifests.one("PodMonitor");
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    let known = |value: &Value, fields: &[&str]| {
        let names: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert!(names.iter().all(|name| fields.contains(&name.as_str())), "{names:?} of {fields:?}");
    };
    let spec = &monitor["spec"];
    known(spec, &OF_SPEC);
    let endpoints = spec["podMetricsEndpoints"].as_array().ok_or("endpoints")?;
    assert_eq!(endpoints.len(), 1);
    known(&endpoints[0], &OF_ENDPOINT);
    assert_eq!(endpoints[0]["port"], manifests.container()["ports"][0]["name"]);
    assert_eq!(endpoints[0]["path"], "/metrics");
    // The rules ask for this job.
    let label = spec["jobLabel"].as_str().ok_or("a label")?;
    assert_eq!(manifests.pod()["metadata"]["labels"][label], "touchstone");
    let seconds =
        |key: &str| endpoints[0][key].as_str().and_then(|text| text.trim_end_matches('s').parse::<u32>().ok());
    assert!(seconds("scrapeTimeout").ok_or("a time-out")? <= seconds("interval").ok_or("an interval")?);
    // Above its limit a scrape is dropped whole, while the service leaves out what is too much by itself.
    let series_max = touchstone::config::parse("")?.export.series_max as i64;
    assert!(spec["sampleLimit"].as_i64().is_some_and(|limit| limit > series_max));
    Ok(())
}
