//! Entries that need each other, and the order in which they can be sent.

/// Groups of entries that refer to each other in a circle (most are alone), each group after all that it refers to.
/// `links` has for each entry those that it refers to. (Tarjan's algorithm, with a stack of its own: a chain of references
/// may be as long as the Bundle.)
pub(crate) fn components(links: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        links,
        index: vec![None; links.len()],
        low: vec![0; links.len()],
        is_open: vec![false; links.len()],
        open: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for root in 0..links.len() {
        if search.index.get(root) == Some(&None) {
            search.from(root);
        }
    }
    search.found
}

struct Search<'l> {
    links: &'l [Vec<usize>],
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    is_open: Vec<bool>,
    open: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn from(&mut self, root: usize) {
        // Each frame: an entry, and how many of its links have been followed.
        let mut path = vec![(root, 0_usize)];
        self.enter(root);
        while let Some((entry, followed)) = path.last_mut() {
            let entry = *entry;
            let target = self.links.get(entry).and_then(|links| links.get(*followed));
            *followed += 1;
            match target.copied() {
                Some(target) if target >= self.links.len() => {}
                Some(target) if self.index.get(target) == Some(&None) => {
                    self.enter(target);
                    path.push((target, 0));
                }
                Some(target) => {
                    if self.is_open.get(target) == Some(&true) {
                        let low = self.index.get(target).copied().flatten();
                        self.lower(entry, low.unwrap_or_default());
                    }
                }
                None => {
                    path.pop();
                    let low = self.low.get(entry).copied().unwrap_or_default();
                    if let Some((parent, _)) = path.last() {
                        self.lower(*parent, low);
                    }
                    if self.index.get(entry).copied().flatten() == Some(low) {
                        self.close(entry);
                    }
                }
            }
        }
    }

    fn enter(&mut self, entry: usize) {
        if let (Some(index), Some(low), Some(is_open)) = (
            self.index.get_mut(entry),
            self.low.get_mut(entry),
            self.is_open.get_mut(entry),
        ) {
            (*index, *low, *is_open) = (Some(self.next), self.next, true);
        }
        self.next += 1;
        self.open.push(entry);
    }

    fn lower(&mut self, entry: usize, to: usize) {
        if let Some(low) = self.low.get_mut(entry) {
            *low = (*low).min(to);
        }
    }

    fn close(&mut self, root: usize) {
        let mut group = Vec::new();
        while let Some(entry) = self.open.pop() {
            if let Some(is_open) = self.is_open.get_mut(entry) {
                *is_open = false;
            }
            group.push(entry);
            if entry == root {
                break;
            }
        }
        group.sort_unstable();
        self.found.push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_comes_first_and_circles_stay_together() {
        // 0 -> 1 -> 2 -> 1 (a circle), 3 -> 0, 4 alone, 5 -> 5
        let links = [vec![1], vec![2], vec![1], vec![0], vec![], vec![5]];
        assert_eq!(
            components(&links),
            [vec![1, 2], vec![0], vec![3], vec![4], vec![5]]
        );
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let links: Vec<Vec<usize>> = (0..100_000).map(|entry| vec![entry + 1]).collect();
        let found = components(&links);
        assert_eq!(found.len(), 100_000);
        assert_eq!(found.first(), Some(&vec![99_999]));
    }
}
