//! Which settings are rejected, and that each error names the setting and the remedy.

use std::time::Duration;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::from_parts(file, environment, false)
}

fn rejection(file: &str, environment: &[(&str, &str)]) -> String {
    load(file, environment).expect_err("the settings are rejected").to_string()
}

#[test]
fn default_is_a_hub_on_loopback_with_the_embedded_database() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database.url(), "sqlite:data/wardroom.db");
    assert_eq!(config.policy, Policy { check_in_s: Some(3600), ..Policy::default() });
    assert_eq!(config.tokens.access_lifetime, Duration::from_secs(900));
    assert!(!config.secure_cookies());
}

#[test]
fn environment_overrides_the_file() {
    let file = "listen = \"127.0.0.1:1\"\n[policy]\nhold_s = 7\nring_s = 8\n";
    let config = load(file, &[("WARDROOM_LISTEN", "127.0.0.1:2"), ("WARDROOM_POLICY_HOLD_S", "9")]).unwrap();
    assert_eq!((config.listen.port(), config.policy.hold_s, config.policy.ring_s), (2, 9, 8));
}

#[test]
fn public_address_requires_a_proxy_with_tls() {
    let error = rejection("", &[("WARDROOM_LISTEN", "0.0.0.0:80")]);
    assert!(error.contains("WARDROOM_LISTEN") && error.contains("WARDROOM_BEHIND_PROXY=true"), "{error}");
    let proxy = [("WARDROOM_LISTEN", "0.0.0.0:80"), ("WARDROOM_BEHIND_PROXY", "true")];
    assert!(rejection("", &proxy).contains("WARDROOM_PUBLIC_URL"));
    let config = load("public_url = \"https://hub.example.org/\"", &proxy).unwrap();
    assert!(config.secure_cookies());
    assert_eq!(config.tokens.issuer, "https://hub.example.org");
}

#[test]
fn demo_mode_requires_loopback() {
    let file = "listen = \"0.0.0.0:80\"\nbehind_proxy = true\npublic_url = \"https://hub.example.org\"";
    assert!(Config::from_parts(file, [], true).unwrap_err().to_string().contains("demo"));
    let file = "behind_proxy = true\npublic_url = \"https://hub.example.org\"";
    assert!(Config::from_parts(file, [], true).unwrap_err().to_string().contains("demo"));
    assert!(Config::from_parts("", [], true).unwrap().demo);
}

#[test]
fn unknown_setting_is_rejected_with_a_suggestion() {
    let error = rejection("", &[("WARDROOM_LISTN", "127.0.0.1:1")]);
    assert!(error.contains("WARDROOM_LISTN") && error.contains("did you mean listen"), "{error}");
    assert!(rejection("lisen = 1", &[]).contains("lisen"));
    assert!(load("", &[("WARDROOM_TEST_POSTGRES", "x"), ("WARDROOM_CONFIG", "x"), ("OTHER", "x")]).is_ok());
}

#[test]
fn every_error_names_the_setting() {
    for (setting, text) in [
        ("WARDROOM_LISTEN", "nonsense"),
        ("WARDROOM_DATABASE_URL", "mysql://x"),
        ("WARDROOM_PUBLIC_URL", "ftp://x"),
        ("WARDROOM_PUBLIC_URL", "http://hub.example.org"),
        ("WARDROOM_ALLOWED_ORIGINS", "https://a.example/path"),
        ("WARDROOM_COOKIE_DOMAIN", "example.org"),
        ("WARDROOM_BEHIND_PROXY", "perhaps"),
        ("WARDROOM_CLINIC_ZONE", "Berlin"),
        ("WARDROOM_MAIL_OFFSET_MINUTES", "60"),
        ("WARDROOM_POLICY_HOLD_S", "0"),
        ("WARDROOM_POLICY_HOLD_S", "soon"),
        ("WARDROOM_TOKENS_ACCESS_S", "100000"),
        ("WARDROOM_LIMITS_CONNECTIONS", "0"),
        ("WARDROOM_DATABASE_CONNECTIONS", "0"),
    ] {
        let error = rejection("", &[(setting, text)]);
        assert!(error.contains(setting), "{error}");
    }
    let error = rejection("", &[("WARDROOM_POLICY_HOLD_S", "-1")]);
    assert!(error.contains("hold_s"), "{error}");
    let error = rejection("[mail]\noffset_minutes = 60", &[]);
    assert!(error.contains("clinic.zone") && error.contains("Europe/Berlin"), "{error}");
    let error = rejection("[policy]\nhold_s = \"long\"", &[]);
    assert!(error.contains("hold_s"), "{error}");
}

#[test]
fn password_in_the_database_url_is_never_printed() {
    let config = load("", &[("WARDROOM_DATABASE_URL", "postgres://u:hunter2@host/db")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = rejection("database_url = \"postgres://u:hunter2@host/db\nlisten = 1", &[]);
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn https_without_a_proxy_is_rejected_with_the_remedy() {
    let file = "public_url = \"https://hub.example.org\"";
    let error = rejection(file, &[]);
    assert!(error.contains("public_url") && error.contains("WARDROOM_BEHIND_PROXY=true"), "{error}");
    assert!(load(&format!("{file}\nbehind_proxy = true"), &[]).is_ok());
    let error = Config::from_parts(file, [], true).expect_err("a demo is not for others").to_string();
    assert!(error.contains("public_url") && error.contains("remove it"), "{error}");
    assert!(load("public_url = \"http://127.0.0.1:8080\"", &[]).is_ok());
}

#[test]
fn cookie_domain_is_the_hosts_own_or_a_parent() {
    let with = |domain: &str| {
        let public = "public_url = \"https://hub.example.org\"\nbehind_proxy = true";
        load(&format!("{public}\ncookie_domain = \"{domain}\""), &[]).is_ok()
    };
    assert!(with("example.org") && with("hub.example.org"));
    for bad in ["org", ".example.org", "ample.org", "other.org", "sub.hub.example.org"] {
        assert!(!with(bad), "{bad}");
    }
}

#[test]
fn origin_is_normalised() {
    assert_eq!(Origin::parse("HTTPS://A.Example:443").unwrap().as_str(), "https://a.example");
    assert_eq!(Origin::parse("http://[::1]:8080").unwrap().as_str(), "http://[::1]:8080");
    for bad in ["null", "https://", "https://a/", "https://u@a", "https://a:x", "https://a?b", "//a", "https://a b"] {
        assert!(Origin::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn currency_is_of_iso_4217_and_the_provider_can_charge_the_price() {
    for currency in ["eur", "EURO", "XAU", "E"] {
        let error = rejection("", &[("WARDROOM_POLICY_CURRENCY", currency)]);
        assert!(error.contains("WARDROOM_POLICY_CURRENCY") && error.contains("ISO 4217"), "{error}");
    }
    let paid = |price: u64, currency: &str| {
        format!(
            "[policy]\nprice = {price}\ncurrency = \"{currency}\"\n[payment]\nprovider = \"http\"\n\
             url = \"https://api.example.org\"\nkey = \"k\"\nwebhook_secret = \"0123456789abcdef\"\n"
        )
    };
    for (price, currency) in [(500_050, "MGA"), (1_255, "KWD"), (25_000_000, "IQD")] {
        let error = rejection(&paid(price, currency), &[]);
        assert!(error.contains("WARDROOM_POLICY_PRICE") && error.contains("policy.currency"), "{error}");
    }
    for (price, currency) in [(500_000, "MGA"), (1_250, "KWD"), (5_000, "ISK"), (2_500, "EUR")] {
        load(&paid(price, currency), &[]).unwrap();
    }
}

#[test]
fn names_and_lines_in_settings_follow_the_rules_of_texts() {
    for (setting, value) in [
        ("WARDROOM_COURIER_NAME", "a\nb"),
        ("WARDROOM_COURIER_NAME", "www.example.org"),
        ("WARDROOM_POLICY_CONSENT", "\u{200b}"),
    ] {
        let error = rejection("", &[(setting, value)]);
        assert!(error.contains(setting) && error.contains("must "), "{error}");
    }
    let config = load("", &[("WARDROOM_POLICY_CONSENT", "e\u{301}")]).unwrap();
    assert_eq!(config.policy.consent.as_str(), "\u{e9}");
}
