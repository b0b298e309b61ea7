//! Colours that colour-blind people can tell apart, sizes that are readable at half size, numbers as people write them.

use plotters::style::RGBColor;

/// The size of a picture in pixels.
pub const SIZE: (u32, u32) = (1920, 1080);

/// Font sizes in pixels. At half size the smallest still has 13.
pub const TITLE: u32 = 44;
/// Below the title.
pub const SUBTITLE: u32 = 28;
/// Names of axes.
pub const LABEL: u32 = 32;
/// Numbers on axes and in cells.
pub const NUMBER: u32 = 28;
/// The smallest.
pub const SMALL: u32 = 26;

/// What is written and drawn on white.
pub const INK: RGBColor = RGBColor(33, 33, 33);
/// Lines that only guide the eye.
pub const GRID: RGBColor = RGBColor(218, 218, 218);
/// What is of less weight.
pub const FAINT: RGBColor = RGBColor(110, 110, 110);
/// The ground.
pub const PAPER: RGBColor = RGBColor(255, 255, 255);

/// The palette of Okabe and Ito, without its yellow, which is too faint for lines on white.
pub const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// The colour of the n-th series.
#[must_use]
pub fn series(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// Stops of viridis: brightness grows with the value, so it is read without colours, too.
const VIRIDIS: [RGBColor; 9] = [
    RGBColor(68, 1, 84),
    RGBColor(71, 45, 123),
    RGBColor(59, 82, 139),
    RGBColor(44, 114, 142),
    RGBColor(33, 145, 140),
    RGBColor(40, 174, 128),
    RGBColor(94, 201, 98),
    RGBColor(173, 220, 48),
    RGBColor(253, 231, 37),
];

/// The colour of a share between 0 and 1.
#[must_use]
pub fn viridis(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let index = (place as usize).min(VIRIDIS.len() - 2);
    mix(VIRIDIS[index], VIRIDIS[index + 1], place - index as f64)
}

/// A colour between two.
#[must_use]
pub fn mix(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let part = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(part(a.0, b.0), part(a.1, b.1), part(a.2, b.2))
}

/// Black or white, whichever is readable on a colour.
#[must_use]
pub fn text_on(ground: RGBColor) -> RGBColor {
    let brightness = 0.299 * f64::from(ground.0) + 0.587 * f64::from(ground.1) + 0.114 * f64::from(ground.2);
    if brightness > 140.0 { INK } else { PAPER }
}

/// A number with three digits that count, and k, M or G for thousands: `0.52`, `845`, `12.3k`.
#[must_use]
pub fn short_number(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        v if v >= 999_500_000.0 => (value / 1e9, "G"),
        v if v >= 999_500.0 => (value / 1e6, "M"),
        v if v >= 9_999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.523, "0.52"),
            (5.0, "5"),
            (12.34, "12.3"),
            (845.3, "845"),
            (1234.0, "1234"),
            (12_340.0, "12.3k"),
            (100_000.0, "100k"),
            (999_900.0, "1M"),
            (2_500_000.0, "2.5M"),
        ] {
            assert_eq!(short_number(value), text, "{value}");
        }
    }

    #[test]
    fn brightness_grows_with_the_value() {
        let brightness = |c: RGBColor| 299 * u32::from(c.0) + 587 * u32::from(c.1) + 114 * u32::from(c.2);
        let colours: Vec<_> = (0..=20).map(|step| brightness(viridis(f64::from(step) / 20.0))).collect();
        assert!(colours.is_sorted(), "{colours:?}");
    }
}
