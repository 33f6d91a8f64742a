//! Those outside: push services, mail, payments, couriers.

use secrecy::ExposeSecret;

use super::Finding;
use super::probe::connects;
use crate::config::{
    BaseUrl, Config, CourierProvider, MailProvider, PaymentProvider, PushKey, PushService, split_port,
};
use crate::integrations::push::Vapid;

/// The key and subject that sign notifications, and whether the services are reached.
pub async fn push(config: &Config) -> Vec<Finding> {
    let push = &config.push;
    let mut findings = vec![subject(&push.subject), key(config)];
    for service in &push.services {
        // Of those with a star one cannot know which hosts there are.
        let (name, reached) = match service {
            PushService::Host(host) => (host, connects(host, 443).await),
            PushService::Origin(origin) => match BaseUrl::parse(origin) {
                Ok(url) => (origin, at(&url).await),
                Err(why) => (origin, Err(why.to_owned())),
            },
            PushService::Below(_) => continue,
        };
        findings.push(match reached {
            Ok(()) => Finding::ok("push.services", format!("{name} is reached")),
            Err(why) => Finding::warn(
                "push.services",
                format!("{why}: notifications to its browsers wait until it is; let this machine out to it"),
            ),
        });
    }
    findings
}

/// Some services answer 403 to a subject that leads nowhere.
fn subject(subject: &str) -> Finding {
    let about = "push.subject";
    if subject.contains("localhost") || subject.contains("127.0.0.1") {
        let text = format!("{subject} leads nowhere, and some push services refuse it: set mailto:you@your-domain");
        return Finding::warn(about, text);
    }
    Finding::ok(about, subject)
}

fn key(config: &Config) -> Finding {
    let about = "push.key";
    match &config.push.key {
        PushKey::File(path) if !path.exists() => {
            Finding::ok(about, format!("{} is made at the first start; keep it in your backups", path.display()))
        }
        _ => match Vapid::open(&config.push) {
            Ok(vapid) => Finding::ok(about, format!("is a key of P-256; browsers subscribe to {}", vapid.public_key())),
            Err(error) => {
                Finding::bad(about, format!("{error}: put the former key back, or every device must subscribe again"))
            }
        },
    }
}

/// Payments, couriers and mail.
pub async fn partners(config: &Config) -> Vec<Finding> {
    let (payment, courier, mail) = tokio::join!(payment(config), courier(config), mail(config));
    vec![payment, courier, mail]
}

async fn payment(config: &Config) -> Finding {
    let about = "payment.provider";
    match &config.payment.provider {
        PaymentProvider::Http { url, .. } => reached(about, url).await,
        PaymentProvider::Sandbox if config.policy.price == 0 => {
            Finding::ok(about, "consultations cost nothing (policy.price)")
        }
        PaymentProvider::Sandbox => {
            Finding::warn(about, "sandbox: people see a fake checkout and nobody pays; set payment.url and payment.key")
        }
    }
}

async fn courier(config: &Config) -> Finding {
    let about = "courier.provider";
    match &config.courier.provider {
        None => Finding::ok(about, "off: the clinic's own couriers deliver"),
        Some(CourierProvider::Http { url, .. }) => reached(about, url).await,
        Some(CourierProvider::Sandbox) => {
            Finding::warn(about, "sandbox: parcels given to it move by themselves, on the screen only")
        }
    }
}

async fn mail(config: &Config) -> Finding {
    let about = "mail.provider";
    match &config.mail.provider {
        None => Finding::warn(about, "off: nobody gets a confirmation or a reminder by mail; set mail.url"),
        Some(MailProvider::Sandbox) => Finding::warn(about, "sandbox: mail goes into files; set mail.url"),
        Some(MailProvider::Smtp(url)) => {
            if config.mail.from.contains(".invalid") {
                return Finding::bad("mail.from", "is nobody's address: set it to one that your mail server sends for");
            }
            let (scheme, rest) = url.expose_secret().split_once("://").unwrap_or(("smtp", ""));
            let authority = rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/');
            let default = if scheme == "smtps" { 465 } else { 587 };
            match split_port(authority) {
                None => Finding::bad(about, "mail.url cannot be read; write smtps://user:password@host"),
                Some((host, port)) => match connects(host, port.unwrap_or(default)).await {
                    Ok(()) => Finding::ok(about, format!("{host} is reached")),
                    Err(why) => Finding::bad(about, format!("{why}: mend mail.url")),
                },
            }
        }
    }
}

async fn reached(about: &'static str, url: &BaseUrl) -> Finding {
    match at(url).await {
        Ok(()) => Finding::ok(about, format!("{} is reached", url.host())),
        Err(why) => Finding::bad(about, format!("{why}: mend the address, or let this machine out to it")),
    }
}

async fn at(url: &BaseUrl) -> Result<(), String> {
    let (host, port) = split_port(url.authority()).ok_or("the address cannot be read")?;
    connects(host, port.unwrap_or(if url.is_https() { 443 } else { 80 })).await
}
