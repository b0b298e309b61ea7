//! iSCSI URLs.

use std::ffi::{CStr, CString};
use std::fmt;

use libiscsi_sys as sys;

use super::error::Error;
use super::slot::Context;

/// `iscsi://[user[%secret]@]host[:port]/target/lun`, checked.
///
/// Its text forms leave the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// `host[:port]`.
    pub portal: String,
    /// The target's iSCSI name.
    pub target: String,
    /// Logical unit number.
    pub lun: u16,
    /// CHAP name and secret of the initiator.
    pub(super) chap: Option<Secret>,
    /// CHAP name and secret of the target (`?target_user=…&target_password=…`).
    pub(super) mutual_chap: Option<Secret>,
}

/// A CHAP name with its secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) user: CString,
    pub(super) secret: CString,
}

impl Url {
    /// Parses a URL; the environment variables `LIBISCSI_CHAP_USERNAME` and `…_PASSWORD` count where it names no user.
    ///
    /// # Errors
    /// [`Error::Url`] with the reason.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Url { url: without_secret(text), reason: reason.to_owned() };
        check(text).map_err(refuse)?;
        let c_text = CString::new(text).map_err(|_| refuse("it holds a zero byte"))?;
        let context = Context::new(c"iqn.2024-01.org.example:url")?;
        // SAFETY: the context lives, the text ends with a zero byte and is shorter than the library's buffer.
        let parsed = unsafe { sys::iscsi_parse_full_url(context.as_ptr(), c_text.as_ptr()) };
        if parsed.is_null() {
            // The library's text repeats the URL with its secret; the line with the reason does not.
            let text = context.error();
            return Err(refuse(text.lines().nth(1).unwrap_or("it cannot be parsed")));
        }
        // SAFETY: not null, so it points to one url that belongs to us until it is destroyed below.
        let url = Self::from_parsed(unsafe { &*parsed }).map_err(refuse);
        // SAFETY: it came from iscsi_parse_full_url and is not used again.
        unsafe { sys::iscsi_destroy_url(parsed) };
        url
    }

    fn from_parsed(parsed: &sys::iscsi_url) -> Result<Self, &'static str> {
        let (portal, target) = (c_string(&parsed.portal)?, c_string(&parsed.target)?);
        let text = |string: CString| string.into_string().map_err(|_| "it is no UTF-8");
        if portal.is_empty() {
            return Err("it names no host");
        }
        if target.is_empty() {
            return Err("it names no target");
        }
        Ok(Self {
            portal: text(portal)?,
            target: text(target)?,
            // Peripheral and flat addressing reach 16383 (SAM-5 4.7.7); libiscsi writes the number's two bytes.
            lun: u16::try_from(parsed.lun)
                .ok()
                .filter(|lun| *lun < 0x4000)
                .ok_or("the logical unit number is too large")?,
            chap: Secret::new(&parsed.user, &parsed.passwd)?,
            mutual_chap: Secret::new(&parsed.target_user, &parsed.target_passwd)?,
        })
    }
}

impl Secret {
    fn new(user: &[std::ffi::c_char], secret: &[std::ffi::c_char]) -> Result<Option<Self>, &'static str> {
        let user = c_string(user)?;
        Ok(if user.is_empty() { None } else { Some(Self { user, secret: c_string(secret)? }) })
    }
}

/// What libiscsi 1.19 does not survive: it copies at most 255 bytes without ending them, and compares the value of a
/// query without looking whether there is one.
fn check(text: &str) -> Result<(), &'static str> {
    if !text.starts_with("iscsi://") {
        return Err("it does not begin with iscsi://");
    }
    if text.len() > sys::MAX_STRING_SIZE {
        return Err("it is longer than 255 bytes");
    }
    let query = text.split_once('?').map_or("", |(_, query)| query);
    if query.split('&').any(|pair| !pair.is_empty() && !pair.contains('=')) {
        return Err("a query parameter has no value");
    }
    if query.split('&').any(|pair| pair.starts_with("header_digest=") || pair.starts_with("iser=")) {
        return Err("header_digest and iser are options of the tool, not of the URL");
    }
    Ok(())
}

/// The string in a fixed array.
fn c_string(chars: &[std::ffi::c_char]) -> Result<CString, &'static str> {
    let bytes: Vec<u8> = chars.iter().map(|c| c.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes).map(CStr::to_owned).map_err(|_| "a part of it is too long")
}

/// The URL with its secret replaced.
fn without_secret(text: &str) -> String {
    let Some((before, after)) = text.split_once('@') else { return text.to_owned() };
    let user = before.strip_prefix("iscsi://").unwrap_or(before);
    match user.split_once(['%', ':']) {
        Some((user, _)) => format!("iscsi://{user}%***@{after}"),
        None => text.to_owned(),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("iscsi://")?;
        if let Some(chap) = &self.chap {
            write!(f, "{}%***@", chap.user.to_string_lossy())?;
        }
        write!(f, "{}/{}/{}", self.portal, self.target, self.lun)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl std::str::FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url() {
        let url = Url::parse("iscsi://me%topsecret@[::1]:3261/iqn.2024-01.org.example%3Adisk/7").expect("valid");
        assert_eq!(
            (url.portal.as_str(), url.target.as_str(), url.lun),
            ("[::1]:3261", "iqn.2024-01.org.example:disk", 7)
        );
        assert_eq!(url.chap.as_ref().map(|chap| chap.secret.as_c_str()), Some(c"topsecret"));
        assert_eq!(url.to_string(), "iscsi://me%***@[::1]:3261/iqn.2024-01.org.example:disk/7");
    }

    #[test]
    fn bad_urls_say_why_and_keep_the_secret() {
        let long = format!("iscsi://host/{}/0", "x".repeat(300));
        for url in [
            "",
            "/dev/sda",
            "http://host/target/0",
            "iscsi://",
            "iscsi://me%topsecret@host",
            "iscsi://me%topsecret@host/target",
            "iscsi://host/target/x",
            "iscsi://host/target/-1",
            "iscsi://host/target/70000",
            "iscsi:///target/0",
            "iscsi://host//0",
            "iscsi://host/target/0?header_digest",
            "iscsi://host/target/0?header_digest=crc32c",
            "iscsi://host/tar\0get/0",
            &long,
        ] {
            let error = Url::parse(url).expect_err(url).to_string();
            assert!(!error.contains("topsecret"), "{error}");
            assert!(error.contains("expected iscsi://") && !error.contains('\n'), "{error}");
        }
    }
}
