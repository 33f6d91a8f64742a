//! A small SMTP server that accepts, defers, or rejects mail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the server answers a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpReply {
    Accept,
    /// 451: try again later.
    Defer,
    /// 550: no such mailbox.
    Reject,
}

/// An accepted mail.
#[derive(Clone, Debug)]
pub struct ReceivedMail {
    pub from: String,
    pub to: String,
    pub data: String,
}

struct Inner {
    reply: SmtpReply,
    /// Local parts whose mail is deferred, whatever `reply` says.
    deferred: Vec<String>,
    attempts: usize,
    received: Vec<ReceivedMail>,
}

/// The server; clones share its state.
#[derive(Clone)]
pub struct MailStub {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl MailStub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Inner { reply: SmtpReply::Accept, deferred: Vec::new(), attempts: 0, received: Vec::new() };
        let mailbox = Self { address: listener.local_addr().unwrap(), inner: Arc::new(Mutex::new(inner)) };
        let server = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that disconnects midway is no error of the server.
                tokio::spawn(server.clone().serve(stream));
            }
        });
        mailbox
    }

    pub fn respond_with(&self, reply: SmtpReply) {
        self.inner.lock().unwrap().reply = reply;
    }

    /// Defers mail to this local part from now on, as a server does whose mailbox is full.
    pub fn defer(&self, local_part: &str) {
        self.inner.lock().unwrap().deferred.push(local_part.to_owned());
    }

    /// Returns how many deliveries were attempted.
    pub fn attempts(&self) -> usize {
        self.inner.lock().unwrap().attempts
    }

    pub fn received(&self) -> Vec<ReceivedMail> {
        self.inner.lock().unwrap().received.clone()
    }

    async fn serve(self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut mail = ReceivedMail { from: String::new(), to: String::new(), data: String::new() };
        write.write_all(b"220 mail.example ESMTP\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-mail.example\r\n250 8BITMIME",
                "MAIL" => {
                    mail.from = address();
                    "250 ok"
                }
                "RCPT" => {
                    mail.to = address();
                    let mut inner = self.inner.lock().unwrap();
                    inner.attempts += 1;
                    let is_deferred =
                        mail.to.split('@').next().is_some_and(|it| inner.deferred.iter().any(|d| d == it));
                    match if is_deferred { SmtpReply::Defer } else { inner.reply } {
                        SmtpReply::Accept => "250 ok",
                        SmtpReply::Defer => "451 come back later",
                        SmtpReply::Reject => "550 nobody of that name",
                    }
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        mail.data.push_str(&line);
                        mail.data.push('\n');
                    }
                    self.inner.lock().unwrap().received.push(mail.clone());
                    mail.data.clear();
                    "250 taken"
                }
                "RSET" | "NOOP" => "250 ok",
                "QUIT" => {
                    write.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                _ => "500 what?",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}
