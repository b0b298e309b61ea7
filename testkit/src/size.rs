//! Sizes and offsets as people write them: `512`, `4k`, `1M`, `2G`, `1.5T`, `64KiB`.

use thiserror::Error;

/// A size that cannot be understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not a size: write a number of bytes with k, M, G or T behind it (1k = 1024), as in 4k or 1.5G")]
pub struct SizeError(String);

/// Parses a size in bytes. Suffixes k, M, G, T, P are powers of 1024, in either case, with or without `B` or `iB`.
///
/// # Errors
/// [`SizeError`] when the text is no number, has another suffix, is negative, has a fraction of a byte, or exceeds 2^64 - 1.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    parse_with_unit(text, 1)
}

/// As [`parse_size`], except that a number without a suffix counts `unit` bytes each.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_with_unit(text: &str, unit: u64) -> Result<u64, SizeError> {
    let wrong = || SizeError(text.to_owned());
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, suffix) = trimmed.split_at(digits);
    let factor = match suffix.trim().to_ascii_lowercase().as_str() {
        "" => unit,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut bytes = u128::from(whole) * u128::from(factor);
    if !fraction.is_empty() {
        let parts: u64 = fraction.parse().map_err(|_| wrong())?;
        let scale = 10u128.pow(fraction.len() as u32);
        let scaled = u128::from(parts) * u128::from(factor);
        if !scaled.is_multiple_of(scale) {
            return Err(wrong());
        }
        bytes += scaled / scale;
    }
    u64::try_from(bytes).map_err(|_| wrong())
}

/// Writes a number of bytes for people: `512 B`, `4 KiB`, `1.50 GiB`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = ((63 - bytes.leading_zeros()) / 10).min(UNITS.len() as u32);
    let unit = UNITS[power as usize - 1];
    let divisor = 1u64 << (10 * power);
    if bytes.is_multiple_of(divisor) {
        format!("{} {unit}", bytes / divisor)
    } else {
        format!("{:.2} {unit}", bytes as f64 / divisor as f64)
    }
}

/// A size that [`parse_size`] reads back as the same number: `4k`, `1M`, `513`.
#[must_use]
pub fn short_size(bytes: u64) -> String {
    for (shift, suffix) in [(40, "T"), (30, "G"), (20, "M"), (10, "k")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("4k", 4096),
            ("4K", 4096),
            ("1M", 1 << 20),
            ("2G", 2 << 30),
            ("1.5G", 3 << 29),
            ("64KiB", 65536),
            (" 1 T ", 1 << 40),
            ("100b", 100),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_with_unit("64", 1 << 20), Ok(64 << 20));
        assert_eq!(parse_with_unit("64k", 1 << 20), Ok(64 << 10));
    }

    #[test]
    fn what_is_no_size() {
        for text in ["", "k", "-1", "4x", "1.0001", "0x10", "99999999999T", ".5k", "1..5k", "4 k k"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(show_size(511), "511 B");
        assert_eq!(show_size(4096), "4 KiB");
        assert_eq!(show_size(1536), "1.50 KiB");
        assert_eq!(show_size(u64::MAX), "16.00 EiB");
    }

    proptest! {
        #[test]
        fn short_sizes_read_back(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&short_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse_size(&text);
        }
    }
}
