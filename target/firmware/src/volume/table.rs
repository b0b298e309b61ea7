//! Partition tables: MBR, and GPT (UEFI 2.10 5.3).

use super::VolumeError;
use super::sectors::{Sectors, byte, u16_at, u32_at, u64_at};
use crate::card::Card;

/// Most partitions that are looked at.
pub(super) const MOST: usize = 128;

/// MBR: the type of the partition that stands for a GPT.
const PROTECTIVE: u8 = 0xee;

/// First sector and sectors of partition `index`; `None` where there is none. `blocks`: of the card.
pub(super) async fn partition<C: Card>(
    sectors: &mut Sectors<'_, '_, C>,
    blocks: u64,
    index: usize,
) -> Result<Option<(u32, u64)>, VolumeError> {
    let mbr = sectors.get(0).await?;
    if u16_at(mbr, 510) != 0xaa55 {
        return Ok(None);
    }
    let entry = |index: usize| 446 + 16 * index;
    let is_gpt = (0..4).any(|index| byte(mbr, entry(index) + 4) == PROTECTIVE);
    let (first, count) = if is_gpt {
        match gpt(sectors, index).await? {
            Some(range) => range,
            None => return Ok(None),
        }
    } else {
        if index >= 4 || byte(mbr, entry(index) + 4) == 0 {
            return Ok(None);
        }
        (u64::from(u32_at(mbr, entry(index) + 8)), u64::from(u32_at(mbr, entry(index) + 12)))
    };
    match (u32::try_from(first), first.checked_add(count)) {
        (Ok(start), Some(end)) if count > 0 && end <= blocks => Ok(Some((start, count))),
        _ => Err(VolumeError::Damaged("a partition that reaches past the card's end")),
    }
}

async fn gpt<C: Card>(sectors: &mut Sectors<'_, '_, C>, index: usize) -> Result<Option<(u64, u64)>, VolumeError> {
    let header = sectors.get(1).await?;
    if header.get(..8) != Some(b"EFI PART") {
        return Err(VolumeError::Damaged("a GPT without its header"));
    }
    let (table, count, size) = (u64_at(header, 72), u32_at(header, 80), u32_at(header, 84));
    if index as u64 >= u64::from(count) {
        return Ok(None);
    }
    // 5.3.2: 128 bytes times a power of two; an entry never lies across two sectors here.
    if !size.is_power_of_two() || !(128..=512).contains(&size) {
        return Err(VolumeError::Damaged("a GPT with entries of an odd size"));
    }
    let at = index as u64 * u64::from(size);
    let sector = u32::try_from(table.saturating_add(at / 512));
    let sector = sectors.get(sector.map_err(|_| VolumeError::Damaged("a GPT behind the card"))?).await?;
    let at = (at % 512) as usize;
    if sector.get(at..at + 16).is_none_or(|kind| kind.iter().all(|byte| *byte == 0)) {
        return Ok(None);
    }
    let (first, last) = (u64_at(sector, at + 32), u64_at(sector, at + 40));
    match last.checked_sub(first) {
        Some(more) => Ok(Some((first, more.saturating_add(1)))),
        None => Err(VolumeError::Damaged("a partition that ends before it begins")),
    }
}
