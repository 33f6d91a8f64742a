//! Who carries mail: a server by SMTP, or a folder of files that a person can look into.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rooms::time::Timestamp;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::letter::Written;
use crate::config::{MailProvider, MailSettings, is_loopback_host};
use crate::gateway::partner::Failure;

/// How long the server may take for one step of the conversation.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Mails of the folder that are shown.
const SHOWN: usize = 50;
/// What no mail server delivers to.
const NOWHERE: &str = ".invalid";

/// The carrier that is set.
#[derive(Clone)]
pub enum Post {
    Folder(Folder),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

/// A folder of files, one `.eml` for each mail, and what a page shows of it beside it.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A mail in the folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SandboxMail")]
pub struct Filed {
    pub id: Uuid,
    pub at: Timestamp,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// A mail on its way.
pub struct Envelope<'a> {
    /// The same for each attempt; in the mail's `Message-ID`.
    pub id: Uuid,
    pub at: Timestamp,
    pub from: &'a Mailbox,
    pub to: Mailbox,
    pub written: Written,
}

impl Post {
    /// None if nobody is set.
    pub fn new(settings: &MailSettings, data_dir: &Path) -> Result<Option<Self>, lettre::transport::smtp::Error> {
        Ok(match &settings.provider {
            None => None,
            Some(MailProvider::Sandbox) => Some(Self::Folder(Folder { path: data_dir.join("mail") })),
            Some(MailProvider::Smtp(url)) => {
                let url = encrypted(url.expose_secret());
                let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url)?.timeout(Some(TIMEOUT));
                Some(Self::Smtp(transport.build()))
            }
        })
    }

    /// The name of its lane.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Folder(_) => "sandbox",
            Self::Smtp(_) => "smtp",
        }
    }

    pub async fn carry(&self, envelope: Envelope<'_>) -> Result<(), Failure> {
        let message = message(&envelope).map_err(|_| Failure::Refused("the mail cannot be written".to_owned()))?;
        match self {
            Self::Folder(folder) => {
                let filed = Filed {
                    id: envelope.id,
                    at: envelope.at,
                    to: envelope.to.email.to_string(),
                    subject: envelope.written.subject,
                    text: envelope.written.text,
                    html: envelope.written.html,
                };
                let folder = folder.clone();
                let filing = tokio::task::spawn_blocking(move || folder.file(&filed, &message.formatted())).await;
                match filing {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(Failure::later("the mail folder cannot be written")),
                }
            }
            Self::Smtp(_) if envelope.to.email.domain().ends_with(NOWHERE) => {
                Err(Failure::Refused("the address is none".to_owned()))
            }
            Self::Smtp(transport) => match transport.send(message).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_permanent() => Err(Failure::Refused(status(&error))),
                Err(error) => Err(Failure::later(status(&error))),
            },
        }
    }
}

/// What went wrong, without the server's words, which may repeat an address.
fn status(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server gave no answer in time".to_owned(),
        None if error.is_tls() => "the mail server offers no encryption that can be trusted".to_owned(),
        None => "the mail server cannot be reached".to_owned(),
    }
}

/// Mail leaves this machine encrypted, unless the address itself says otherwise.
fn encrypted(url: &str) -> String {
    let Some(rest) = url.strip_prefix("smtp://") else { return url.to_owned() };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    match (url.contains('?'), is_loopback_host(host)) {
        (false, false) => format!("{url}?tls=required"),
        _ => url.to_owned(),
    }
}

fn message(envelope: &Envelope<'_>) -> Result<Message, lettre::error::Error> {
    let domain = envelope.from.email.domain();
    let written = &envelope.written;
    Message::builder()
        .message_id(Some(format!("<{}@{domain}>", envelope.id)))
        .from(envelope.from.clone())
        .to(envelope.to.clone())
        .subject(written.subject.clone())
        .multipart(MultiPart::alternative_plain_html(written.text.clone(), written.html.clone()))
}

impl Folder {
    fn file(&self, filed: &Filed, message: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        // What a page shows comes last: what it shows is there.
        self.write(&format!("{}.eml", filed.id), message)?;
        self.write(&format!("{}.json", filed.id), &serde_json::to_vec(filed)?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let (draft, path) = (self.path.join(format!("{name}.part")), self.path.join(name));
        std::fs::write(&draft, bytes)?;
        std::fs::rename(draft, path)
    }

    /// The newest mails.
    pub async fn list(&self) -> std::io::Result<Vec<Filed>> {
        let folder = self.clone();
        tokio::task::spawn_blocking(move || folder.read()).await.map_err(std::io::Error::other)?
    }

    fn read(&self) -> std::io::Result<Vec<Filed>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == "json"));
        // The ids begin with the time at which the mails were wanted.
        paths.sort();
        let newest = paths.iter().rev().take(SHOWN);
        newest.map(|path| Ok(serde_json::from_slice(&std::fs::read(path)?)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_leaves_this_machine_encrypted() {
        assert_eq!(
            encrypted("smtp://me:pass@mail.example.org:587"),
            "smtp://me:pass@mail.example.org:587?tls=required"
        );
        assert_eq!(encrypted("smtps://mail.example.org"), "smtps://mail.example.org");
        assert_eq!(encrypted("smtp://127.0.0.1:2525"), "smtp://127.0.0.1:2525");
        assert_eq!(encrypted("smtp://mail.example.org?tls=opportunistic"), "smtp://mail.example.org?tls=opportunistic");
    }
}
