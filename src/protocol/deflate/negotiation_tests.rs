//! Tests of the negotiation of permessage-deflate.

use proptest::prelude::*;

use super::*;
use crate::protocol::deflate::DeflateConfigError;

/// The response to the offers in `lines`, if one is acceptable.
fn answer(config: &DeflateConfig, lines: &[&str]) -> Result<Option<String>, Malformed> {
    let agreed = agree(lines.iter().map(|line| line.as_bytes()), config)?;
    Ok(agreed.map(|agreed| agreed.to_string()))
}

/// The most permissive configuration: windows of 15 bits, context takeover.
fn permissive() -> DeflateConfig {
    DeflateConfig { server_max_window_bits: 15, client_max_window_bits: 15, ..DeflateConfig::dedicated() }
}

#[test]
fn each_parameter_of_an_offer_is_answered_with_its_agreed_value() {
    let response = |offer: &str| answer(&permissive(), &[&format!("permessage-deflate{offer}")]).unwrap();
    for (offer, agreed) in [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("; server_max_window_bits=\"11\"", "; server_max_window_bits=11"),
        ("; server_max_window_bits=\"1\\1\"", "; server_max_window_bits=11"),
        (";server_no_context_takeover", "; server_no_context_takeover"),
        (" ; client_no_context_takeover", "; client_no_context_takeover"),
    ] {
        assert_eq!(response(offer), Some(format!("permessage-deflate{agreed}")), "{offer}");
    }
}

#[test]
fn offer_with_an_invalid_parameter_is_skipped() {
    for offer in [
        "; server_max_window_bits",
        "; server_max_window_bits=8",
        "; server_max_window_bits=7",
        "; server_max_window_bits=16",
        "; server_max_window_bits=09",
        "; server_max_window_bits=+9",
        "; server_max_window_bits=1e1",
        "; server_max_window_bits=255",
        "; client_max_window_bits=7",
        "; client_max_window_bits=16",
        "; client_max_window_bits=010",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=true",
        "; server_no_context_takeover; server_no_context_takeover",
        "; client_max_window_bits; client_max_window_bits=10",
        "; server_max_window_bits=10; server_max_window_bits=10",
        "; unknown",
        "; unknown=15",
        "; Server_No_Context_Takeover",
    ] {
        let line = format!("permessage-deflate{offer}");
        assert_eq!(answer(&permissive(), &[&line]), Ok(None), "{offer}");
        let second = format!("{line}, permessage-deflate; server_max_window_bits=10");
        let agreed = Ok(Some("permessage-deflate; server_max_window_bits=10".to_owned()));
        assert_eq!(answer(&permissive(), &[&second]), agreed, "{offer}, followed by a valid offer");
    }
}

#[test]
fn other_extensions_are_ignored() {
    for line in
        ["x-webkit-deflate-frame", "permessage-bzip2; level=9", "permessage-deflated", "", " , ,", "Permessage-Deflate"]
    {
        assert_eq!(answer(&permissive(), &[line]), Ok(None), "{line}");
    }
    let lines = ["foo; a=\"b-c\"; d", "x-webkit-deflate-frame; no_context_takeover", "bar, permessage-deflate"];
    assert_eq!(answer(&permissive(), &lines), Ok(Some("permessage-deflate".to_owned())));
}

#[test]
fn line_that_is_no_extension_list_is_malformed() {
    for line in [
        "permessage-deflate;",
        "permessage-deflate; ;server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; =10",
        "permessage-deflate server_no_context_takeover",
        "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=\"b c\"",
        "permessage-deflate; a=\"b\\",
        "; a",
        "=",
        "permessage-deflate, (",
        "\u{e9}",
    ] {
        assert_eq!(answer(&permissive(), &[line]), Err(Malformed), "{line}");
        assert_eq!(answer(&permissive(), &["permessage-deflate", line]), Err(Malformed), "{line}, after a valid line");
    }
}

#[test]
fn server_adds_its_own_limits_where_the_offer_allows_them() {
    let limited = DeflateConfig { server_max_window_bits: 10, client_max_window_bits: 9, ..DeflateConfig::shared() };
    let no_takeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let agreed = |offer| answer(&limited, &[offer]).unwrap().unwrap();
    assert_eq!(
        agreed("permessage-deflate"),
        no_takeover,
        "the server states its window only if the offer contains the parameter"
    );
    let hint = format!("{no_takeover}; client_max_window_bits=9");
    assert_eq!(agreed("permessage-deflate; client_max_window_bits"), hint);
    let named = format!("{no_takeover}; server_max_window_bits=10");
    assert_eq!(agreed("permessage-deflate; server_max_window_bits=12"), named);
    let less = format!("{no_takeover}; server_max_window_bits=9; client_max_window_bits=8");
    assert_eq!(agreed("permessage-deflate; client_max_window_bits=8; server_max_window_bits=9"), less);
}

#[test]
fn configuration_value_out_of_range_is_an_error() {
    let config = DeflateConfig::shared();
    for level in [0, 10, 99] {
        assert_eq!(config.level(level), Err(DeflateConfigError::Level(level)));
    }
    for bits in [0, 3, 8, 16, 200] {
        assert_eq!(config.server_max_window_bits(bits), Err(DeflateConfigError::WindowBits(bits)));
        assert_eq!(config.client_max_window_bits(bits), Err(DeflateConfigError::WindowBits(bits)));
    }
    assert!((1..=9).all(|level| config.level(level).is_ok()));
    assert!(
        (9..=15).all(|bits| config.server_max_window_bits(bits).is_ok() && config.client_max_window_bits(bits).is_ok())
    );
}

/// An offer, its text, and whether the offer is acceptable.
#[derive(Debug, Clone)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
    flaw: Option<&'static str>,
    spaces: usize,
    quoted: bool,
    order: u64,
}

impl Offer {
    fn text(&self) -> String {
        let value = |bits: u8| if self.quoted { format!("\"{bits}\"") } else { bits.to_string() };
        let spaces = " ".repeat(self.spaces);
        let mut parameters = Vec::new();
        if self.server_no_context_takeover {
            parameters.push("server_no_context_takeover".to_owned());
        }
        if self.client_no_context_takeover {
            parameters.push("client_no_context_takeover".to_owned());
        }
        if let Some(bits) = self.server_max_window_bits {
            parameters.push(format!("server_max_window_bits{spaces}={spaces}{}", value(bits)));
        }
        if let Some(bits) = self.client_max_window_bits {
            let value = bits.map_or_else(String::new, |bits| format!("={}", value(bits)));
            parameters.push(format!("client_max_window_bits{value}"));
        }
        parameters.extend(self.flaw.map(str::to_owned));
        let count = parameters.len().max(1);
        parameters.rotate_left(self.order as usize % count);
        let parameters: String = parameters.iter().map(|parameter| format!("{spaces};{spaces}{parameter}")).collect();
        format!("{spaces}permessage-deflate{parameters}{spaces}")
    }
}

fn offer() -> impl Strategy<Value = Offer> {
    let flaws = ["unknown", "server_max_window_bits=16", "client_no_context_takeover=0", "x=\"y\""];
    let flaw = prop_oneof![3 => Just(None), 1 => prop::sample::select(flaws.to_vec()).prop_map(Some)];
    let parameters = (
        any::<bool>(),
        any::<bool>(),
        prop::option::of(8..=15_u8),
        prop::option::of(prop::option::of(8..=15_u8)),
        flaw,
    );
    (parameters, 0..3_usize, any::<bool>(), any::<u64>()).prop_map(|(parameters, spaces, quoted, order)| {
        let (server_none, client_none, server_bits, client_bits, flaw) = parameters;
        Offer {
            server_no_context_takeover: server_none,
            client_no_context_takeover: client_none,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
            flaw,
            spaces,
            quoted,
            order,
        }
    })
}

fn configs() -> impl Strategy<Value = DeflateConfig> {
    (9..=15_u8, 9..=15_u8, any::<bool>(), any::<bool>()).prop_map(
        |(server, client, server_takeover, client_takeover)| DeflateConfig {
            server_max_window_bits: server,
            client_max_window_bits: client,
            server_context_takeover: server_takeover,
            client_context_takeover: client_takeover,
            ..DeflateConfig::default()
        },
    )
}

proptest! {
    #[test]
    fn agreement_follows_the_first_acceptable_offer(
        offers in prop::collection::vec(offer(), 0..5),
        config in configs(),
        one_line in any::<bool>(),
    ) {
        let texts: Vec<String> = offers.iter().map(Offer::text).collect();
        let lines = if one_line { vec![texts.join(",")] } else { texts };
        let agreed = agree(lines.iter().map(String::as_bytes), &config).unwrap();
        let taken = offers.iter().find(|offer| offer.flaw.is_none() && offer.server_max_window_bits != Some(8));
        prop_assert_eq!(agreed.is_some(), taken.is_some());
        let (Some(agreed), Some(offer)) = (agreed, taken) else { return Ok(()) };
        prop_assert_eq!(
            agreed.server_context_takeover,
            config.server_context_takeover && !offer.server_no_context_takeover
        );
        prop_assert_eq!(
            agreed.client_context_takeover,
            config.client_context_takeover && !offer.client_no_context_takeover
        );
        let limit = offer.server_max_window_bits.unwrap_or(15);
        prop_assert_eq!(agreed.server_max_window_bits, config.server_max_window_bits.min(limit));
        let response = agreed.to_string();
        let names = offer.server_max_window_bits.is_some();
        prop_assert_eq!(response.contains("server_max_window_bits"), names, "{}", response);
        match offer.client_max_window_bits {
            None => prop_assert!(!response.contains("client_max_window_bits"), "{}", response),
            Some(hint) => {
                prop_assert_eq!(agreed.client_max_window_bits, config.client_max_window_bits.min(hint.unwrap_or(15)));
            }
        }
        // The response is a valid offer of the same parameters.
        let hint = if response.contains("client_max_window_bits") { "" } else { "; client_max_window_bits" };
        let offered = format!("{response}{hint}");
        let again = agree([offered.as_bytes()].into_iter(), &permissive()).unwrap().unwrap();
        prop_assert_eq!(again.to_string(), response);
    }

    #[test]
    fn parsing_arbitrary_octets_ends_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = agree([&line[..]].into_iter(), &permissive());
    }
}

#[test]
fn server_response_is_accepted_or_refused_with_its_invalid_part() {
    let parsed = |config: &DeflateConfig, lines: &[&str]| {
        take_answer(lines.iter().map(|line| line.as_bytes()), config)
            .map(|agreed| agreed.map(|agreed| agreed.to_string()))
    };
    let narrow = DeflateConfig { server_max_window_bits: 10, server_context_takeover: false, ..permissive() };
    assert_eq!(parsed(&permissive(), &[]), Ok(None), "the server does not compress");
    for (answer, agreed) in [
        ("", ""),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        (
            "; server_max_window_bits=9; client_max_window_bits=9",
            "; server_max_window_bits=9; client_max_window_bits=9",
        ),
        (
            "; client_no_context_takeover; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover",
        ),
    ] {
        let line = format!("permessage-deflate{answer}");
        assert_eq!(parsed(&permissive(), &[&line]), Ok(Some(format!("permessage-deflate{agreed}"))), "{answer}");
    }
    // A parameter that the server leaves out only costs memory.
    for answer in [
        "",
        "; server_no_context_takeover",
        "; server_no_context_takeover; client_no_context_takeover",
        "; server_no_context_takeover; server_max_window_bits=11",
        "; server_max_window_bits=10",
        "; client_max_window_bits=8",
    ] {
        let agreed = parsed(&narrow, &[&format!("permessage-deflate{answer}")]).unwrap().unwrap();
        assert_eq!(agreed, format!("permessage-deflate{answer}"));
    }
    let (window, unknown) = (BadExtension::Parameter("server_max_window_bits"), BadExtension::Parameter("unknown"));
    for (answer, bad) in [
        ("; server_max_window_bits", &window),
        ("; server_max_window_bits=7", &window),
        ("; server_max_window_bits=16", &window),
        ("; server_max_window_bits=1000", &window),
        ("; client_max_window_bits", &BadExtension::Parameter("client_max_window_bits")),
        ("; client_max_window_bits=7", &BadExtension::Parameter("client_max_window_bits")),
        ("; client_max_window_bits=16", &BadExtension::Parameter("client_max_window_bits")),
        ("; server_no_context_takeover=1", &BadExtension::Parameter("server_no_context_takeover")),
        ("; client_max_window_bits=10; client_max_window_bits=10", &BadExtension::Parameter("client_max_window_bits")),
        ("; unknown", &unknown),
        (
            "; server_no_context_takeover; server_no_context_takeover",
            &BadExtension::Parameter("server_no_context_takeover"),
        ),
        ("; unknown=15", &unknown),
        ("; unknown=", &unknown),
        ("; server_max_window_bits=", &window),
        ("; server_max_window_bits=\"\"", &window),
        ("; server_max_window_bits=\"1", &window),
        (", permessage-deflate", &BadExtension::Extension),
        (";", &BadExtension::Extension),
        (" x", &BadExtension::Extension),
    ] {
        assert_eq!(parsed(&permissive(), &[&format!("permessage-deflate{answer}")]).as_ref(), Err(bad), "{answer}");
    }
    let twice = parsed(&permissive(), &["permessage-deflate", "permessage-deflate"]);
    assert_eq!(twice, Err(BadExtension::Extension), "twice");
    for other in ["x-webkit-deflate-frame", "x; server_max_window_bits=16", "x; server_max_window_bits="] {
        assert_eq!(parsed(&permissive(), &[other]), Err(BadExtension::Extension), "{other} was not offered");
    }
}
