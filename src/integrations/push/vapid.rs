//! The VAPID key, which identifies this hub to push services (RFC 8292). Created once: every subscription is bound to it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use secrecy::ExposeSecret;
use web_push::{PartialVapidSignatureBuilder, VapidSignatureBuilder};

use crate::config::{PushKeySource, PushSettings};
use crate::keyfile::{self, KeyError};

/// Why notifications cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum VapidError {
    #[error(transparent)]
    File(#[from] KeyError),
    #[error("push.key (WARDROOM_PUSH_KEY) is not a private key of P-256: 32 bytes in base64url")]
    Setting,
}

/// The VAPID key, ready to sign.
#[derive(Clone)]
pub struct Vapid {
    /// Shared, because cloning the builder derives the public key again, and the state is cloned for every request.
    signer: Arc<PartialVapidSignatureBuilder>,
    /// The uncompressed point in base64url, as browsers expect it.
    public: Arc<str>,
}

impl Vapid {
    /// Reads the key. Creates the key file if it is configured and absent.
    pub fn open(settings: &PushSettings) -> Result<Self, VapidError> {
        match &settings.key {
            PushKeySource::Given(key) => Self::parse(key.expose_secret()).ok_or(VapidError::Setting),
            PushKeySource::File(path) => {
                if let Some(folder) = path.parent() {
                    keyfile::create_folder(folder)?;
                }
                if !path.exists() {
                    keyfile::create(path, generate)?;
                }
                let key = keyfile::read(path)?;
                Ok(Self::parse(&key).ok_or_else(|| KeyError::Malformed(path.clone()))?)
            }
        }
    }

    /// Returns a key of its own for a test.
    #[cfg(test)]
    pub fn for_test() -> Self {
        generate().ok().and_then(|key| Self::parse(&key)).expect("a fresh key is valid")
    }

    fn parse(key: &str) -> Option<Self> {
        let key = key.trim();
        // The library does not check the length.
        if URL_SAFE_NO_PAD.decode(key).ok()?.len() != 32 {
            return None;
        }
        let signer = VapidSignatureBuilder::from_base64_no_sub(key).ok()?;
        let public = URL_SAFE_NO_PAD.encode(signer.get_public_key());
        Some(Self { signer: Arc::new(signer), public: public.into() })
    }

    /// Returns the public key, with which browsers subscribe.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// Returns a signer for one message.
    pub fn signer(&self) -> PartialVapidSignatureBuilder {
        (*self.signer).clone()
    }
}

fn generate() -> Result<String, KeyError> {
    loop {
        let mut key = [0; 32];
        keyfile::system_random().fill(&mut key).map_err(|_| KeyError::Random)?;
        let key = URL_SAFE_NO_PAD.encode(key);
        // About one number in 2^32 is not a valid private key of P-256.
        if Vapid::parse(&key).is_some() {
            return Ok(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(key: PushKeySource) -> PushSettings {
        PushSettings { subject: "https://example.org".to_owned(), key, services: Vec::new() }
    }

    fn in_file(path: &Path) -> PushSettings {
        settings(PushKeySource::File(path.to_owned()))
    }

    #[test]
    fn key_is_created_once_and_invalid_keys_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/push-key");
        let first = Vapid::open(&in_file(&path)).unwrap();
        assert_eq!(Vapid::open(&in_file(&path)).unwrap().public_key(), first.public_key());
        assert_eq!(URL_SAFE_NO_PAD.decode(first.public_key()).unwrap().len(), 65);
        let given = std::fs::read_to_string(&path).unwrap();
        let given = Vapid::open(&settings(PushKeySource::Given(given.into()))).unwrap();
        assert_eq!(given.public_key(), first.public_key());
        for broken in
            ["", "short", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "//////////////////////////////////////////8"]
        {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(Vapid::open(&in_file(&path)), Err(VapidError::File(KeyError::Malformed(_)))), "{broken}");
            let setting = settings(PushKeySource::Given(broken.to_owned().into()));
            assert!(matches!(Vapid::open(&setting), Err(VapidError::Setting)), "{broken}");
        }
    }
}
