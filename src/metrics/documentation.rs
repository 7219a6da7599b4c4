//! docs/METRICS.md, from the registry, the catalogue and the families of `/metrics`.

use super::catalogue::{FIGURES, capitalized};
use super::{Settings, registry};
use std::fmt::Write;

/// The service-level formulas, as a table in docs/METRICS.md.
const FORMULAS: &str = "\
| formula | value | in use with |
|---|---|---|
| 1 | (answered <= T + abandoned <= T) / (answered + abandoned) | Cisco, abandoned calls positively |
| 2 | answered <= T / answered | nobody who counts abandons |
| 3 (default) | answered <= T / (answered + abandoned) | Amazon Connect; Cisco, negatively |
| 4 | answered <= T / (answered + abandoned > T) | Bright Pattern; Cisco, ignored |
| 5 | answered <= T / (answered + abandoned - short abandons) | Genesys, short abandons left out |
";

/// The document. `families` are (name, kind, labels, help) of the families that are no figures.
pub fn markdown(families: &[(&str, &str, &str, &str)]) -> String {
    let mut text = String::from(
        "# Metrics\n\nWhat every number means. A count or a duration that was not given is unknown, not zero: a mean is over the \
         events that carry the measure,\nand a figure whose denominator is 0 is absent, never 0 and never NaN. Waiting is time in the \
         queue before an agent answers; hold is time\non hold after one has answered. A contact counts where it ended.\n\n\
         Every ratio and score carries numerator, denominator, sample count and a 95 % interval: Wilson for ratios, adjusted Wald \
         for the NPS\n(Rocks 2016), Student's t on exact integer moments for means. Sufficiency: n >= 100 `sufficient`, 30 to 99 \
         `provisional`, below `thin`.\nQuantiles: the element of rank ceil(q n), as the geometric middle of its bucket, relative \
         error at most 0.6 %; 0 is exact.\n",
    );
    for set in registry(&Settings::default()) {
        let shape = set.shape();
        let _ = write!(text, "\n## `{}`\n\n| count | meaning |\n|---|---|\n", set.name());
        for count in shape.counts.iter().filter(|count| count.published) {
            let _ = writeln!(text, "| `{}` | {} |", count.name, capitalized(count.help));
        }
        for tally in shape.tallies {
            let _ = writeln!(text, "| `{tally}` | The same, told apart by name |");
        }
        for distribution in shape.distributions {
            let of = if set.one_scale() { "score" } else { "scale and score" };
            let _ = writeln!(text, "| `{distribution}` | Answers per {of} |");
        }
        let figures: Vec<_> = FIGURES.iter().filter(|figure| figure.set == set.name()).collect();
        if !figures.is_empty() {
            text.push_str("\n| figure | meaning | formula | interval |\n|---|---|---|---|\n");
        }
        for figure in figures {
            let key = figure.key.map_or(String::new(), |key| format!(", per `{key}`"));
            let _ = writeln!(
                text,
                "| `{}`{key} | {} | {} | {} |",
                figure.name,
                figure.help,
                figure.formula.replace('|', "\\|"),
                figure.interval
            );
        }
        if set.name() == "contacts" {
            let _ = write!(text, "\nThe service level, T being the threshold and waits known:\n\n{FORMULAS}");
        }
    }
    text.push_str(
        "\n## `/metrics`\n\nEvery figure is a gauge `cx_` + its name, every published count a gauge `cx_window_` + its name (sums in \
         seconds), with the labels\n`window`, `slice` (the name of the group-by) and the slice's own dimensions. Beside them:\n\n\
         | family | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for (name, kind, labels, help) in families {
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}
