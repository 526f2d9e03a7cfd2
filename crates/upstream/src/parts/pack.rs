//! Where a Bundle is cut: groups of entries that cannot be parted, in an order that may be sent, put into parts.

use crate::config::Split;

/// Bytes of a Bundle around its entries.
const FRAME: usize = 64;

/// Fills one part after the other. A group that alone has too many entries is an error; one with too many bytes gets a
/// part of its own, and the server's word.
pub(super) fn pack(
    groups: impl Iterator<Item = Vec<usize>>,
    size: impl Fn(usize) -> usize,
    split: Split,
) -> Result<Vec<Vec<usize>>, String> {
    let most_entries = split.max_entries.unwrap_or(usize::MAX);
    let most_bytes = split.max_bytes.unwrap_or(usize::MAX);
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for group in groups {
        if group.len() > most_entries {
            return Err(format!(
                "{} entries refer to each other in a circle, more than the {most_entries} of split.max_entries",
                group.len()
            ));
        }
        let more: usize = group.iter().map(|place| size(*place)).sum();
        match parts.last_mut() {
            Some(part)
                if part.len() + group.len() <= most_entries && bytes + more <= most_bytes =>
            {
                part.extend(group);
                bytes += more;
            }
            _ => {
                parts.push(group);
                bytes = FRAME + more;
            }
        }
    }
    Ok(parts)
}

/// Two halves of about the same size; `None` for a single group.
pub(super) fn halves(
    groups: &[Vec<usize>],
    size: impl Fn(usize) -> usize,
) -> Option<(Vec<usize>, Vec<usize>)> {
    if groups.len() < 2 {
        return None;
    }
    let size_of = |group: &Vec<usize>| -> usize { group.iter().map(|place| size(*place)).sum() };
    let half = groups.iter().map(size_of).sum::<usize>() / 2;
    let mut before = 0;
    // The cut that comes nearest to the middle, and leaves something on both sides.
    let cut = groups
        .iter()
        .take(groups.len() - 1)
        .enumerate()
        .map(|(place, group)| {
            before += size_of(group);
            (before.abs_diff(half), place + 1)
        })
        .min()
        .map(|(_, cut)| cut)?;
    let (first, second) = groups.split_at_checked(cut)?;
    Some((first.concat(), second.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Vec<usize>> {
        vec![vec![3], vec![1, 2], vec![0], vec![4]]
    }

    #[test]
    fn parts_are_filled_and_groups_stay_whole() {
        let pack = |max_entries, max_bytes| {
            let split = Split {
                max_entries,
                max_bytes,
            };
            super::pack(groups().into_iter(), |_| 100, split)
        };
        assert_eq!(
            pack(Some(2), None).unwrap(),
            [vec![3], vec![1, 2], vec![0, 4]]
        );
        assert_eq!(pack(Some(3), None).unwrap(), [vec![3, 1, 2], vec![0, 4]]);
        assert_eq!(
            pack(None, Some(264)).unwrap(),
            [vec![3], vec![1, 2], vec![0, 4]]
        );
        assert_eq!(pack(None, Some(10)).unwrap().len(), 4, "the server decides");
        assert!(pack(Some(1), None).unwrap_err().contains("2 entries"));
    }

    #[test]
    fn halves_are_about_equal() {
        assert_eq!(
            halves(&groups(), |_| 100),
            Some((vec![3, 1, 2], vec![0, 4]))
        );
        let last = |place| if place == 4 { 1000 } else { 1 };
        assert_eq!(halves(&groups(), last), Some((vec![3, 1, 2, 0], vec![4])));
        assert_eq!(halves(&[vec![1, 2]], |_| 1), None);
    }
}
