//! The subscribers of a topic on one shard: first those that a new message concerns, then
//! those that rest. Who stalls costs the others nothing once it rests, however many do.
//!
//! Every subscription knows its place, so that each of these takes constant time: `moved`
//! is called with who is at another place now, and with that place.

/// `awake <= all.len()`: so many at the front are gone through with each message.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Vec<u32>,
    awake: u32,
}

impl Subscribers {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, also those that rest.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.all.iter().copied()
    }

    /// Who is at `place`, unless only those who rest are from there on.
    #[inline]
    pub fn awake_at(&self, place: u32) -> Option<u32> {
        (place < self.awake).then(|| self.all[place as usize])
    }

    /// Another one, which is awake.
    pub fn push(&mut self, own: u32, mut moved: impl FnMut(u32, u32)) {
        let place = self.all.len() as u32;
        self.all.push(own);
        moved(own, place);
        self.wake(place, moved);
    }

    /// The one at `place` goes.
    pub fn remove(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let mut place = place;
        if place < self.awake {
            self.rest(place, &mut moved);
            place = self.awake;
        }
        self.all.swap_remove(place as usize);
        if let Some(&own) = self.all.get(place as usize) {
            moved(own, place);
        }
    }

    /// The one at `place`, which is awake, rests: another is there now.
    pub fn rest(&mut self, place: u32, moved: impl FnMut(u32, u32)) {
        debug_assert!(place < self.awake, "it rests already");
        self.awake -= 1;
        self.swap(place, self.awake, moved);
    }

    /// The one at `place` is awake from now on, if it was not.
    pub fn wake(&mut self, place: u32, moved: impl FnMut(u32, u32)) {
        if place >= self.awake {
            self.swap(place, self.awake, moved);
            self.awake += 1;
        }
    }

    /// Nobody rests any more.
    pub fn wake_all(&mut self) {
        self.awake = self.all.len() as u32;
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
    fn agrees_with_a_map_of_who_rests() {
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
                    subscribers.rest(places[&chosen], |own, place| {
                        places.insert(own, place);
                    });
                    twin.insert(chosen, false);
                }
                (_, Some(chosen)) => {
                    let place = places[&chosen];
                    subscribers.wake(place, |own, place| {
                        places.insert(own, place);
                    });
                    twin.insert(chosen, true);
                }
            }
            if random.u16(..) == 0 {
                subscribers.wake_all();
                twin.values_mut().for_each(|is_awake| *is_awake = true);
            }
            let awake = (0..).map_while(|place| subscribers.awake_at(place)).count();
            assert_eq!(awake, twin.values().filter(|&&is_awake| is_awake).count());
            assert_eq!((subscribers.len(), subscribers.is_empty()), (twin.len(), twin.is_empty()));
            for (place, own) in subscribers.iter().enumerate() {
                assert_eq!((places[&own], twin[&own]), (place as u32, place < awake));
            }
            if twin.len() > 60 {
                (subscribers, twin, places) = Default::default();
            }
        }
    }
}
