//! The hub's own secrets in `data/keys/`: created when absent, readable by their owner only, never built in.
//!
//! `*.pem` are signing keys for access tokens. The last one by name signs; all of them verify and are published. To
//! replace a key, add a file, restart, and remove the old one after the lifetime of an access token. Refresh tokens
//! are keyed by `server-secret`. Nodes that serve one database share these files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use crate::keyfile::KeyError;
use crate::keyfile::{create, create_folder, read, system_random};

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A signing key and its public part.
pub struct SigningKey {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    pub sign: EncodingKey,
    pub verify: DecodingKey,
    jwk: Value,
}

/// All secrets of this hub.
pub struct Keys {
    /// Never empty; the last one signs.
    signing: Vec<SigningKey>,
    /// Keys the refresh tokens.
    pub refresh: ring::hmac::Key,
}

impl Keys {
    /// Reads the secrets below `data_dir` and creates those that are absent.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let folder = data_dir.join("keys");
        create_folder(&folder)?;
        let mut names = pem_files(&folder)?;
        if names.is_empty() {
            let path = folder.join("access-1.pem");
            create(&path, || {
                Ok(pem(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &system_random())
                    .map_err(|_| KeyError::Random)?
                    .as_ref()))
            })?;
            names.push(path);
        }
        let signing = names.iter().map(|path| signing_key(path)).collect::<Result<_, _>>()?;
        let path = folder.join("server-secret");
        if !path.exists() {
            create(&path, || {
                let mut secret = [0; 32];
                system_random().fill(&mut secret).map_err(|_| KeyError::Random)?;
                Ok(URL_SAFE_NO_PAD.encode(secret))
            })?;
        }
        let secret = read(&path)?;
        let secret = URL_SAFE_NO_PAD.decode(secret.trim()).ok().filter(|it| it.len() >= 32);
        let secret = secret.ok_or(KeyError::Malformed(path))?;
        // One key per use: the key for refresh tokens can sign nothing else.
        let refresh = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), b"refresh token");
        Ok(Self { signing, refresh: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, refresh.as_ref()) })
    }

    /// Returns the key that signs new tokens.
    pub fn current(&self) -> &SigningKey {
        self.signing.last().expect("a key is created when there is none")
    }

    /// Returns the key with this `kid`.
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.signing.iter().find(|key| key.kid == kid)
    }

    /// Returns the public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.signing.iter().map(|key| &key.jwk).collect::<Vec<_>>()})
    }
}

fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let io_error = |why| KeyError::Io { path: folder.to_owned(), why };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path.extension().is_some_and(|it| it == "pem") {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

fn signing_key(path: &Path) -> Result<SigningKey, KeyError> {
    let malformed = || KeyError::Malformed(path.to_owned());
    let text = read(path)?;
    let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|it| it.strip_suffix(PEM_END)).ok_or_else(malformed)?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| malformed())?;
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &system_random()).map_err(|_| malformed())?;
    // The uncompressed point: a 4, then two coordinates of 32 bytes each.
    let [4, point @ ..] = pair.public_key().as_ref() else { return Err(malformed()) };
    let (x, y) = point.split_at_checked(32).ok_or_else(malformed)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)));
    let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y});
    let verify = DecodingKey::from_ec_components(&x, &y).map_err(|_| malformed())?;
    Ok(SigningKey { kid, sign: EncodingKey::from_ec_der(&der), verify, jwk })
}

fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> = (0..encoded.len()).step_by(64).map(|at| &encoded[at..encoded.len().min(at + 64)]).collect();
    format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_created_once_and_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path()).unwrap();
        let again = Keys::open(folder.path()).unwrap();
        assert_eq!(first.current().kid, again.current().kid);
        for name in ["access-1.pem", "server-secret"] {
            let mode = fs::metadata(folder.path().join("keys").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let other = tempfile::tempdir().unwrap();
        assert_ne!(first.current().kid, Keys::open(other.path()).unwrap().current().kid);
    }

    #[test]
    fn secret_that_others_can_read_is_rejected_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        Keys::open(folder.path()).unwrap();
        let path = folder.path().join("keys/access-1.pem");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Keys::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("access-1.pem") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn malformed_secret_is_rejected_and_not_replaced() {
        for name in ["access-1.pem", "server-secret"] {
            let folder = tempfile::tempdir().unwrap();
            Keys::open(folder.path()).unwrap();
            let path = folder.path().join("keys").join(name);
            fs::write(&path, "short").unwrap();
            assert!(matches!(Keys::open(folder.path()), Err(KeyError::Malformed(_))), "{name}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        }
    }

    #[test]
    fn newest_key_signs_and_all_keys_verify() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = Keys::open(one.path()).unwrap().current().kid.clone();
        let new = Keys::open(two.path()).unwrap().current().kid.clone();
        fs::copy(two.path().join("keys/access-1.pem"), one.path().join("keys/access-2.pem")).unwrap();
        let both = Keys::open(one.path()).unwrap();
        assert_eq!(both.current().kid, new);
        assert!(both.find(&old).is_some() && both.find("other").is_none());
        assert_eq!(both.jwks()["keys"].as_array().unwrap().len(), 2);
        assert!(both.jwks().to_string().find("\"d\"").is_none(), "no private part is published");
    }
}
