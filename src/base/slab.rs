//! A slab with generations, in pages, so that growing it never moves a value
//! and never doubles its memory.

/// Values per page: few enough that the first page costs little, many enough that a partly used
/// last page wastes little.
const PAGE: usize = 512;
const NO_SLOT: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    /// Increments each time the slot is freed.
    generation: u32,
    /// While the slot is free: the next free one.
    next_free: u32,
    value: Option<T>,
}

/// A table of values named by index and generation.
///
/// ```
/// use tapecast::base::Slab;
///
/// let mut slab = Slab::new();
/// let (index, generation) = slab.insert("alice");
/// assert_eq!(slab.remove(index), Some("alice"));
/// let (reused, _) = slab.insert("bob");
/// assert_eq!(reused, index);
/// // A stale name does not find the new value.
/// assert_eq!(slab.get(index, generation), None);
/// assert_eq!(slab.at(index), Some(&"bob"));
/// ```
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Box<[Entry<T>]>>,
    first_free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { pages: Vec::new(), first_free: NO_SLOT, len: 0 }
    }
}

impl<T> Slab<T> {
    /// An empty slab.
    pub fn new() -> Slab<T> {
        Slab::default()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the greatest index in use so far, rounded up to a page.
    pub fn index_end(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    #[inline]
    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.pages.get(index as usize / PAGE).map(|page| &page[index as usize % PAGE])
    }

    #[inline]
    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.pages.get_mut(index as usize / PAGE).map(|page| &mut page[index as usize % PAGE])
    }

    /// Inserts `value` and returns its index and generation.
    pub fn insert(&mut self, value: T) -> (u32, u32) {
        if self.first_free == NO_SLOT {
            self.grow();
        }
        let index = self.first_free;
        let entry = self.entry_mut(index).expect("a free slot lies in a page");
        debug_assert!(entry.value.is_none());
        entry.value = Some(value);
        let (generation, next) = (entry.generation, entry.next_free);
        self.first_free = next;
        self.len += 1;
        (index, generation)
    }

    fn grow(&mut self) {
        let base = self.index_end();
        let page = (0..PAGE as u32).map(|offset| Entry {
            generation: 0,
            next_free: if offset as usize == PAGE - 1 { NO_SLOT } else { base + offset + 1 },
            value: None,
        });
        self.pages.push(page.collect());
        self.first_free = base;
    }

    /// Removes the value at `index` and increments the slot's generation.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let first_free = self.first_free;
        let entry = self.entry_mut(index)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next_free = first_free;
        self.first_free = index;
        self.len -= 1;
        Some(value)
    }

    /// The value at `index`, if the slot is taken and of this generation.
    #[inline]
    pub fn get(&self, index: u32, generation: u32) -> Option<&T> {
        self.entry(index).filter(|entry| entry.generation == generation)?.value.as_ref()
    }

    /// The value at `index`, if the slot is taken and of this generation.
    #[inline]
    pub fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        self.entry_mut(index).filter(|entry| entry.generation == generation)?.value.as_mut()
    }

    /// The value at `index`, whatever its generation.
    #[inline]
    pub fn at(&self, index: u32) -> Option<&T> {
        self.entry(index)?.value.as_ref()
    }

    /// The value at `index`, whatever its generation.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entry_mut(index)?.value.as_mut()
    }

    /// The value at `index` with its generation.
    #[inline]
    pub fn named_mut(&mut self, index: u32) -> Option<(u32, &mut T)> {
        let entry = self.entry_mut(index)?;
        Some((entry.generation, entry.value.as_mut()?))
    }

    /// The present generation of the slot at `index`.
    #[inline]
    pub fn generation(&self, index: u32) -> Option<u32> {
        self.entry(index).map(|entry| entry.generation)
    }

    /// Every value with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let entries = self.pages.iter().flat_map(|page| page.iter());
        (0..).zip(entries).filter_map(|(index, entry)| Some((index, entry.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_stale_name_finds_nothing() {
        let mut slab = Slab::new();
        let (index, generation) = slab.insert("a");
        assert_eq!(slab.remove(index), Some("a"));
        assert_eq!(slab.remove(index), None);
        let (again, later) = slab.insert("b");
        assert_eq!((again, later), (index, generation + 1));
        assert_eq!(slab.get(index, generation), None);
        assert_eq!(slab.get(index, later), Some(&"b"));
    }

    #[test]
    fn a_slab_agrees_with_a_map_over_random_operations() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut slab, mut twin) = (Slab::new(), HashMap::new());
        for step in 0..20_000u32 {
            if random.u8(..) < 140 {
                twin.insert(slab.insert(step), step);
            } else if let Some(&(index, generation)) = twin.keys().next() {
                assert_eq!(slab.get(index, generation), twin.get(&(index, generation)));
                assert_eq!(slab.remove(index), twin.remove(&(index, generation)));
            }
            assert_eq!(slab.len(), twin.len());
        }
        assert_eq!(slab.iter().count(), twin.len());
    }
}
