//! The subscribers of a topic on one shard: the active ones first, then the parked ones. Parked
//! subscribers cost publishers nothing, however many there are.
//!
//! Every subscription knows its place, so each operation takes constant time: `moved` is called
//! with each subscription whose place has changed, and with its new place.

/// `active <= all.len()`: so many at the front are looked at with each message.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Vec<u32>,
    active: u32,
}

impl Subscribers {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, parked ones included.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.all.iter().copied()
    }

    /// The active subscriber at `place`; none if only parked ones are from there on.
    #[inline]
    pub fn active_at(&self, place: u32) -> Option<u32> {
        (place < self.active).then(|| self.all[place as usize])
    }

    /// Adds an active subscriber.
    pub fn push(&mut self, own: u32, mut moved: impl FnMut(u32, u32)) {
        let place = self.all.len() as u32;
        self.all.push(own);
        moved(own, place);
        self.unpark(place, moved);
    }

    /// Removes the one at `place`.
    pub fn remove(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let mut place = place;
        if place < self.active {
            self.park(place, &mut moved);
            place = self.active;
        }
        self.all.swap_remove(place as usize);
        if let Some(&own) = self.all.get(place as usize) {
            moved(own, place);
        }
    }

    /// Parks the active subscriber at `place`: another one takes its place.
    pub fn park(&mut self, place: u32, moved: impl FnMut(u32, u32)) {
        debug_assert!(place < self.active, "it is parked already");
        self.active -= 1;
        self.swap(place, self.active, moved);
    }

    /// The one at `place` is active from now on.
    pub fn unpark(&mut self, place: u32, moved: impl FnMut(u32, u32)) {
        if place >= self.active {
            self.swap(place, self.active, moved);
            self.active += 1;
        }
    }

    /// Makes every subscriber active.
    pub fn unpark_all(&mut self) {
        self.active = self.all.len() as u32;
    }

    fn swap(&mut self, one: u32, other: u32, mut moved: impl FnMut(u32, u32)) {
        if one != other {
            self.all.swap(one as usize, other as usize);
            moved(self.all[one as usize], one);
            moved(self.all[other as usize], other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn subscribers_agree_with_a_map_of_active_ones() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut subscribers, mut places) = (Subscribers::default(), BTreeMap::new());
        let mut twin: BTreeMap<u32, bool> = BTreeMap::new();
        for own in 0..20_000 {
            let chosen = twin.keys().copied().nth(random.usize(..twin.len().max(1)));
            let moved = |own, place| {
                places.insert(own, place);
            };
            match (random.u8(..5), chosen) {
                (0 | 1, _) | (_, None) => {
                    subscribers.push(own, moved);
                    twin.insert(own, true);
                }
                (2, Some(chosen)) => {
                    let place = places.remove(&chosen).unwrap();
                    subscribers.remove(place, |own, place| {
                        places.insert(own, place);
                    });
                    places.remove(&chosen);
                    twin.remove(&chosen);
                }
                (3, Some(chosen)) if twin[&chosen] => {
                    subscribers.park(places[&chosen], |own, place| {
                        places.insert(own, place);
                    });
                    twin.insert(chosen, false);
                }
                (_, Some(chosen)) => {
                    let place = places[&chosen];
                    subscribers.unpark(place, |own, place| {
                        places.insert(own, place);
                    });
                    twin.insert(chosen, true);
                }
            }
            if random.u16(..) == 0 {
                subscribers.unpark_all();
                twin.values_mut().for_each(|is_active| *is_active = true);
            }
            let active = (0..).map_while(|place| subscribers.active_at(place)).count();
            assert_eq!(active, twin.values().filter(|&&is_active| is_active).count());
            assert_eq!((subscribers.len(), subscribers.is_empty()), (twin.len(), twin.is_empty()));
            for (place, own) in subscribers.iter().enumerate() {
                assert_eq!((places[&own], twin[&own]), (place as u32, place < active));
            }
            if twin.len() > 60 {
                (subscribers, twin, places) = Default::default();
            }
        }
    }
}
