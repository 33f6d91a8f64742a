//! Checks of external services: push, mail, payments, couriers.

use secrecy::ExposeSecret;

use super::Finding;
use super::probe::check_tcp;
use crate::config::{
    BaseUrl, Config, CourierProvider, MailProvider, PaymentProvider, PushKeySource, PushService, split_port,
};
use crate::integrations::push::Vapid;

/// Checks the key and subject of notifications, and that the push services are reachable.
pub async fn push(config: &Config) -> Vec<Finding> {
    let push = &config.push;
    let mut findings = vec![subject(&push.subject), key(config)];
    for service in &push.services {
        // A wildcard does not tell which hosts exist.
        let (name, result) = match service {
            PushService::Host(host) => (host, check_tcp(host, 443).await),
            PushService::Origin(origin) => match BaseUrl::parse(origin) {
                Ok(url) => (origin, check_url(&url).await),
                Err(why) => (origin, Err(why.to_owned())),
            },
            PushService::Below(_) => continue,
        };
        findings.push(match result {
            Ok(()) => Finding::ok("push.services", format!("{name} is reachable")),
            Err(why) => Finding::warn(
                "push.services",
                format!("{why}: notifications to its browsers are delayed until it is reachable; allow outgoing connections to it"),
            ),
        });
    }
    findings
}

/// Some services answer 403 if the subject is not a reachable address.
fn subject(subject: &str) -> Finding {
    let about = "push.subject";
    if subject.contains("localhost") || subject.contains("127.0.0.1") {
        let text = format!("{subject} is not reachable, and some push services reject it: set mailto:you@your-domain");
        return Finding::warn(about, text);
    }
    Finding::ok(about, subject)
}

fn key(config: &Config) -> Finding {
    let about = "push.key";
    match &config.push.key {
        PushKeySource::File(path) if !path.exists() => Finding::ok(
            about,
            format!("{} will be created at the first start; include it in your backups", path.display()),
        ),
        _ => match Vapid::open(&config.push) {
            Ok(vapid) => Finding::ok(about, format!("is a P-256 key; browsers subscribe to {}", vapid.public_key())),
            Err(error) => {
                Finding::bad(about, format!("{error}: restore the previous key, or every device must subscribe again"))
            }
        },
    }
}

/// Checks payments, couriers, and mail.
pub async fn partners(config: &Config) -> Vec<Finding> {
    let (payment, courier, mail) = tokio::join!(payment(config), courier(config), mail(config));
    vec![payment, courier, mail]
}

async fn payment(config: &Config) -> Finding {
    let about = "payment.provider";
    match &config.payment.provider {
        PaymentProvider::Http { url, .. } => check_partner(about, url).await,
        PaymentProvider::Sandbox if config.policy.price == 0 => {
            Finding::ok(about, "consultations are free (policy.price)")
        }
        PaymentProvider::Sandbox => Finding::warn(
            about,
            "sandbox: patients see a fake checkout and no money moves; set payment.url and payment.key",
        ),
    }
}

async fn courier(config: &Config) -> Finding {
    let about = "courier.provider";
    match &config.courier.provider {
        None => Finding::ok(about, "off: the clinic's own couriers deliver"),
        Some(CourierProvider::Http { url, .. }) => check_partner(about, url).await,
        Some(CourierProvider::Sandbox) => {
            Finding::warn(about, "sandbox: simulates deliveries, no parcel moves; set courier.url and courier.key")
        }
    }
}

async fn mail(config: &Config) -> Finding {
    let about = "mail.provider";
    match &config.mail.provider {
        None => Finding::warn(about, "off: nobody receives confirmations or reminders by mail; set mail.url"),
        Some(MailProvider::Sandbox) => Finding::warn(about, "sandbox: mail is written to files; set mail.url"),
        Some(MailProvider::Smtp(url)) => {
            if config.mail.from.contains(".invalid") {
                return Finding::bad(
                    "mail.from",
                    "is not a real address: set it to one that your mail server may send from",
                );
            }
            let (scheme, rest) = url.expose_secret().split_once("://").unwrap_or(("smtp", ""));
            let authority = rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/');
            let default = if scheme == "smtps" { 465 } else { 587 };
            match split_port(authority) {
                None => Finding::bad(about, "mail.url is not valid; write smtps://user:password@host"),
                Some((host, port)) => match check_tcp(host, port.unwrap_or(default)).await {
                    Ok(()) => Finding::ok(about, format!("{host} is reachable")),
                    Err(why) => Finding::bad(about, format!("{why}: correct mail.url")),
                },
            }
        }
    }
}

async fn check_partner(about: &'static str, url: &BaseUrl) -> Finding {
    match check_url(url).await {
        Ok(()) => Finding::ok(about, format!("{} is reachable", url.host())),
        Err(why) => Finding::bad(about, format!("{why}: correct the address, or allow outgoing connections to it")),
    }
}

async fn check_url(url: &BaseUrl) -> Result<(), String> {
    let (host, port) = split_port(url.authority()).ok_or("the address is not valid")?;
    check_tcp(host, port.unwrap_or(if url.is_https() { 443 } else { 80 })).await
}
