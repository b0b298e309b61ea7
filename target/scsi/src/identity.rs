//! Who a logical unit is: everything that INQUIRY says to tell it from another.

use core::fmt::Write;

/// An iSCSI name is at most this long (RFC 7143 4.2.7.1), in bytes.
pub const NAME_MAX: usize = 223;

/// The largest LUN: peripheral device addressing (SAM-5 4.7.7.2) carries 8 bits.
pub const LUN_MAX: u16 = 255;

/// The identity of a logical unit. Serial number, NAA, EUI-64 and T10 vendor identification derive from the UUID, which
/// belongs to the disk and not to the machine.
#[derive(Clone)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, left-aligned ASCII.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION, left-aligned ASCII.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL, left-aligned ASCII.
    pub revision: [u8; 4],
    uuid: [u8; 16],
    target_name: [u8; NAME_MAX],
    target_name_len: u8,
    portal_group_tag: u16,
    lun: u16,
}

/// Why an identity can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// The target's name is empty or longer than [`NAME_MAX`] bytes.
    TargetName,
    /// The LUN is above [`LUN_MAX`].
    Lun,
}

impl Identity {
    /// The identity of the disk `uuid`, served as `lun` of the iSCSI target `target_name` by the target portal group
    /// `portal_group_tag`.
    ///
    /// # Errors
    /// A name that is empty or too long, a LUN above 255.
    pub fn new(uuid: [u8; 16], target_name: &str, portal_group_tag: u16, lun: u16) -> Result<Self, IdentityError> {
        let len = target_name.len();
        let mut name = [0; NAME_MAX];
        let room = name.get_mut(..len).ok_or(IdentityError::TargetName)?;
        if len == 0 {
            return Err(IdentityError::TargetName);
        }
        room.copy_from_slice(target_name.as_bytes());
        if lun > LUN_MAX {
            return Err(IdentityError::Lun);
        }
        Ok(Self {
            vendor: *b"iESP    ",
            product: *b"iESP disk       ",
            revision: *b"0001",
            uuid,
            target_name: name,
            target_name_len: len as u8, // at most 223
            portal_group_tag,
            lun,
        })
    }

    /// The iSCSI name of the target.
    #[must_use]
    pub fn target_name(&self) -> &str {
        let bytes = &self.target_name[..usize::from(self.target_name_len)];
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The disk's UUID.
    #[must_use]
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// The LUN.
    #[must_use]
    pub fn lun(&self) -> u16 {
        self.lun
    }

    /// The tag of the target portal group; also its target port group and relative target port identifier.
    #[must_use]
    pub fn portal_group_tag(&self) -> u16 {
        self.portal_group_tag
    }

    /// PRODUCT SERIAL NUMBER: the UUID in 32 hexadecimal digits.
    #[must_use]
    pub fn serial(&self) -> [u8; 32] {
        let mut text = Text::<32>::new();
        for byte in self.uuid {
            let _ = write!(text, "{byte:02x}");
        }
        text.bytes
    }

    /// SPC-4 7.8.6.6.4: NAA Locally Assigned (3h) and 60 bits made from the UUID.
    #[must_use]
    pub fn naa(&self) -> [u8; 8] {
        let digest = self.digest(0x6e61_612e);
        (digest & !(0xf << 60) | 0x3 << 60).to_be_bytes()
    }

    /// SPC-4 7.8.6.5.2: an EUI-64 made from the UUID, marked as locally administered (IEEE 802: bit 1 of the first byte)
    /// because nobody bought a company identifier for it.
    #[must_use]
    pub fn eui64(&self) -> [u8; 8] {
        let mut eui = self.digest(0x6575_692e).to_be_bytes();
        eui[0] = eui[0] & !0x01 | 0x02;
        eui
    }

    /// The UUID in 64 bits: two rounds of MurmurHash3's finalizer, so that UUIDs that differ in a few bits (versions 1 and
    /// 7 count upwards) differ everywhere. Never to be changed: multipath knows disks by it.
    fn digest(&self, salt: u64) -> u64 {
        let half = |at: usize| self.uuid[at..at + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        mix(mix(salt ^ half(0)) ^ half(8))
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Identity")
            .field("target_name", &self.target_name())
            .field("lun", &self.lun)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

fn mix(mut n: u64) -> u64 {
    n = (n ^ n >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    n = (n ^ n >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ n >> 33
}

/// Formats into an array; what doesn't fit is an error.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + s.len()).ok_or(core::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_11_two_disks_never_share_an_identity() {
        let disk = |n: u8| Identity::new([n; 16], "iqn.2026-01.test:x", 1, 0).unwrap();
        let (a, b) = (disk(0x11), disk(0x12));
        assert_ne!(a.serial(), b.serial());
        assert_ne!(a.naa(), b.naa());
        assert_ne!(a.eui64(), b.eui64());
        let again = disk(0x11);
        assert_eq!((a.serial(), a.naa(), a.eui64()), (again.serial(), again.naa(), again.eui64()));
    }

    #[test]
    fn designators_carry_their_type() {
        let identity = Identity::new(*b"0123456789abcdef", "iqn.2026-01.test:x", 1, 0).unwrap();
        assert_eq!(identity.naa()[0] >> 4, 3);
        assert_eq!(identity.eui64()[0] & 3, 2);
        assert_eq!(&identity.serial(), b"30313233343536373839616263646566");
    }

    #[test]
    fn names_are_bounded() {
        let long = [b'a'; NAME_MAX + 1];
        let long = core::str::from_utf8(&long).unwrap();
        assert_eq!(Identity::new([0; 16], long, 1, 0).err(), Some(IdentityError::TargetName));
        assert_eq!(Identity::new([0; 16], "", 1, 0).err(), Some(IdentityError::TargetName));
        assert!(Identity::new([0; 16], &long[1..], 1, 0).is_ok());
        assert_eq!(Identity::new([0; 16], "iqn.a", 1, 256).err(), Some(IdentityError::Lun));
    }
}
