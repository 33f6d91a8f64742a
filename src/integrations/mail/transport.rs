//! The transports of mail: an SMTP server, or a folder of files that the sandbox shows.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rooms::time::Timestamp;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::template::RenderedMail;
use crate::config::{MailProvider, MailSettings, is_loopback_host};
use crate::integrations::partner::PartnerError;
use crate::keyfile;

/// How long the server may take for one SMTP command.
const SMTP_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Mails of the folder that the sandbox lists.
const MAX_LISTED_MAILS: usize = 50;
/// The top-level domain that no mail server delivers to (RFC 2606).
const UNDELIVERABLE_DOMAIN: &str = ".invalid";

/// The configured transport.
#[derive(Clone)]
pub enum MailTransport {
    Folder(Folder),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

/// A folder with an `.eml` file for each mail, and a JSON file with what the sandbox shows of it.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A mail in the folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SandboxMail")]
pub struct SandboxMail {
    pub id: Uuid,
    pub at: Timestamp,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// A mail to be sent.
pub struct OutgoingMail<'a> {
    /// The same for each attempt. Part of the mail's `Message-ID`.
    pub id: Uuid,
    pub at: Timestamp,
    pub from: &'a Mailbox,
    pub to: Mailbox,
    pub rendered: RenderedMail,
}

impl MailTransport {
    /// Returns `None` if no transport is configured.
    pub fn new(settings: &MailSettings, data_dir: &Path) -> Result<Option<Self>, lettre::transport::smtp::Error> {
        Ok(match &settings.provider {
            None => None,
            Some(MailProvider::Sandbox) => Some(Self::Folder(Folder { path: data_dir.join("mail") })),
            Some(MailProvider::Smtp(url)) => {
                let url = require_tls(url.expose_secret());
                let transport =
                    AsyncSmtpTransport::<Tokio1Executor>::from_url(&url)?.timeout(Some(SMTP_COMMAND_TIMEOUT));
                Some(Self::Smtp(transport.build()))
            }
        })
    }

    /// Returns the name of its destination.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Folder(_) => "sandbox",
            Self::Smtp(_) => "smtp",
        }
    }

    /// Sends a mail, or stores it in the folder.
    pub async fn send(&self, mail: OutgoingMail<'_>) -> Result<(), PartnerError> {
        let message = message(&mail).map_err(|_| PartnerError::Unsendable("the mail cannot be encoded".to_owned()))?;
        match self {
            Self::Folder(folder) => {
                let stored = SandboxMail {
                    id: mail.id,
                    at: mail.at,
                    to: mail.to.email.to_string(),
                    subject: mail.rendered.subject,
                    text: mail.rendered.text,
                    html: mail.rendered.html,
                };
                let folder = folder.clone();
                let stored = tokio::task::spawn_blocking(move || folder.store(&stored, &message.formatted())).await;
                match stored {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(PartnerError::retryable("the mail folder cannot be written")),
                }
            }
            Self::Smtp(_) if mail.to.email.domain().ends_with(UNDELIVERABLE_DOMAIN) => {
                Err(PartnerError::Unsendable("no mail server delivers to this address".to_owned()))
            }
            Self::Smtp(transport) => match transport.send(message).await {
                Ok(_) => Ok(()),
                Err(error) => Err(smtp_error(&error)),
            },
        }
    }
}

/// Tells a fault of the server from a fault of this mail, which must not hold up the others.
fn smtp_error(error: &lettre::transport::smtp::Error) -> PartnerError {
    let why = describe_error(error);
    // 421: the server closes the connection, whatever it was asked (RFC 5321, section 3.8).
    let is_closing = error.status().is_some_and(|code| code.to_string() == "421");
    if error.is_permanent() {
        PartnerError::Refused(why)
    } else if error.is_transient() && !is_closing {
        // The mailbox is busy or full, or the server wants to see the sender again first.
        PartnerError::Postponed(why)
    } else if error.is_client() {
        // The address needs an extension that the server does not have, such as SMTPUTF8.
        PartnerError::Unsendable(why)
    } else {
        PartnerError::retryable(why)
    }
}

/// Describes an error without quoting the server, which may repeat an address.
fn describe_error(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server gave no answer in time".to_owned(),
        None if error.is_client() => "the mail server cannot deliver to this kind of address".to_owned(),
        None if error.is_tls() => "the mail server offers no encryption that can be trusted".to_owned(),
        None => "the mail server cannot be reached".to_owned(),
    }
}

/// Requires TLS to servers on other machines, unless the URL sets it otherwise.
fn require_tls(url: &str) -> String {
    let Some(rest) = url.strip_prefix("smtp://") else { return url.to_owned() };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    match (url.contains('?'), is_loopback_host(host)) {
        (false, false) => format!("{url}?tls=required"),
        _ => url.to_owned(),
    }
}

pub(super) fn message(mail: &OutgoingMail<'_>) -> Result<Message, lettre::error::Error> {
    let domain = mail.from.email.domain();
    let rendered = &mail.rendered;
    Message::builder()
        .message_id(Some(format!("<{}@{domain}>", mail.id)))
        .from(mail.from.clone())
        .to(mail.to.clone())
        .subject(rendered.subject.clone())
        .multipart(MultiPart::alternative_plain_html(rendered.text.clone(), rendered.html.clone()))
}

impl Folder {
    fn store(&self, mail: &SandboxMail, message: &[u8]) -> std::io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        // Write the JSON file last: a mail that the sandbox lists is complete.
        self.write(&format!("{}.eml", mail.id), message)?;
        self.write(&format!("{}.json", mail.id), &serde_json::to_vec(mail)?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let (draft, path) = (self.path.join(format!("{name}.part")), self.path.join(name));
        let mut file = keyfile::open_private(&draft)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        std::fs::rename(draft, path)
    }

    /// Returns the newest mails first.
    pub async fn list(&self) -> std::io::Result<Vec<SandboxMail>> {
        let folder = self.clone();
        tokio::task::spawn_blocking(move || folder.read()).await.map_err(std::io::Error::other)?
    }

    fn read(&self) -> std::io::Result<Vec<SandboxMail>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == "json"));
        // Ids begin with a timestamp, so names sort by time.
        paths.sort();
        let newest = paths.iter().rev().take(MAX_LISTED_MAILS);
        newest.map(|path| Ok(serde_json::from_slice(&std::fs::read(path)?)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_to_other_machines_requires_tls() {
        assert_eq!(
            require_tls("smtp://me:pass@mail.example.org:587"),
            "smtp://me:pass@mail.example.org:587?tls=required"
        );
        assert_eq!(require_tls("smtps://mail.example.org"), "smtps://mail.example.org");
        assert_eq!(require_tls("smtp://127.0.0.1:2525"), "smtp://127.0.0.1:2525");
        assert_eq!(
            require_tls("smtp://mail.example.org?tls=opportunistic"),
            "smtp://mail.example.org?tls=opportunistic"
        );
    }

    #[test]
    fn mails_of_the_sandbox_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let folder = Folder { path: data.path().join("mail") };
        folder.write("a.eml", b"a long text").and_then(|()| folder.write("a.eml", b"short")).unwrap_err();
        std::fs::DirBuilder::new().mode(0o700).create(&folder.path).unwrap();
        folder.write("a.eml", b"a long text").and_then(|()| folder.write("a.eml", b"short")).unwrap();
        let file = folder.path.join("a.eml");
        assert_eq!(std::fs::read(&file).unwrap(), b"short");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
