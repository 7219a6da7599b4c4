//! The closed vocabularies: how each value is written in an event.
//!
//! One table per type gives both directions, so that a value cannot be read without being writable.

use super::{AbandonStage, CustomerState, Direction, Kind, Outcome, SurveyMetric};

macro_rules! vocabulary {
    ($type:ident: $($variant:ident $name:literal),+ $(,)?) => {
        impl $type {
            /// Every value, in the order of its declaration.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// How the value is written in an event.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }

            /// The value that is written so; case matters.
            pub fn parse(name: &str) -> Option<$type> {
                match name {
                    $($name => Some($type::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

vocabulary!(Kind:
    Contact "cx.contact.ended.v1",
    Interaction "cx.interaction.v1",
    Customer "cx.customer.changed.v1",
    Survey "cx.survey.responded.v1",
);

vocabulary!(Outcome:
    Answered "answered",
    Abandoned "abandoned",
    FlowOut "flow_out",
    Callback "callback",
    Voicemail "voicemail",
    Failed "failed",
);

vocabulary!(Direction: Inbound "inbound", Outbound "outbound", Internal "internal");

vocabulary!(AbandonStage: Ivr "ivr", Queue "queue", Ring "ring", Hold "hold");

vocabulary!(CustomerState:
    Acquired "acquired",
    Renewed "renewed",
    Downgraded "downgraded",
    Churned "churned",
    Reactivated "reactivated",
);

vocabulary!(SurveyMetric: Csat "csat", Nps "nps", Ces "ces", Enps "enps");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back() {
        assert!(Kind::ALL.iter().all(|value| Kind::parse(value.name()) == Some(*value)));
        assert!(Outcome::ALL.iter().all(|value| Outcome::parse(value.name()) == Some(*value)));
        assert!(Direction::ALL.iter().all(|value| Direction::parse(value.name()) == Some(*value)));
        assert!(AbandonStage::ALL.iter().all(|value| AbandonStage::parse(value.name()) == Some(*value)));
        assert!(CustomerState::ALL.iter().all(|value| CustomerState::parse(value.name()) == Some(*value)));
        assert!(SurveyMetric::ALL.iter().all(|value| SurveyMetric::parse(value.name()) == Some(*value)));
        assert_eq!(Outcome::parse("Answered"), None);
    }
}
