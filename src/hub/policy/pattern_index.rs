//! Patterns by the names that they match: a tree of segments, so that the patterns that a
//! topic matches are found by its name and not by going through all of them.
//!
//! The tree is a few segments deep. Deeper segments of a pattern are compared as a
//! whole, or a pattern of a hundred segments would take a hundred nodes.

use super::name::{is_reserved, matches};
use crate::base::Slab;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Segments of a pattern that the tree knows.
const DEPTH: usize = 6;
const ROOT: u32 = 0;

/// Each entry is a pattern and its value.
type Entries = Vec<(Arc<str>, u32)>;

#[derive(Debug, Default)]
struct Node {
    /// By the next segment; a wildcard is a segment too.
    children: HashMap<Box<str>, u32, RandomState>,
    /// Patterns that end here, or that are deeper than the tree.
    here: Entries,
    /// Patterns that end here with a `>`.
    rest: Entries,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.rest.is_empty()
    }
}

/// Patterns, each with a number as its value.
#[derive(Debug)]
pub struct PatternIndex {
    nodes: Slab<Node>,
}

impl Default for PatternIndex {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let (root, _) = nodes.insert(Node::default());
        debug_assert_eq!(root, ROOT);
        PatternIndex { nodes }
    }
}

impl PatternIndex {
    fn node(&self, node: u32) -> &Node {
        self.nodes.at(node).expect("a node of the tree")
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        self.nodes.at_mut(node).expect("a node of the tree")
    }

    /// Adds a pattern with this value.
    pub fn insert(&mut self, pattern: &Arc<str>, value: u32) {
        let mut at = ROOT;
        for segment in pattern.split('.').take(DEPTH) {
            if segment == ">" {
                return self.node_mut(at).rest.push((Arc::clone(pattern), value));
            }
            at = match self.node(at).children.get(segment) {
                Some(&child) => child,
                None => {
                    let (child, _) = self.nodes.insert(Node::default());
                    self.node_mut(at).children.insert(segment.into(), child);
                    child
                }
            };
        }
        self.node_mut(at).here.push((Arc::clone(pattern), value));
    }

    /// Removes a pattern that [`PatternIndex::insert`] has added.
    pub fn remove(&mut self, pattern: &str, value: u32) {
        let (mut at, mut path) = (ROOT, Vec::new());
        let is_it = |entry: &(Arc<str>, u32)| entry.1 == value && &*entry.0 == pattern;
        for segment in pattern.split('.').take(DEPTH) {
            if segment == ">" {
                break;
            }
            let Some(&child) = self.node(at).children.get(segment) else { return };
            path.push((at, segment));
            at = child;
        }
        let node = self.node_mut(at);
        for entries in [&mut node.here, &mut node.rest] {
            if let Some(place) = entries.iter().position(is_it) {
                entries.swap_remove(place);
            }
        }
        while let Some((parent, segment)) = path.pop()
            && self.node(at).is_empty()
        {
            self.nodes.remove(at);
            self.node_mut(parent).children.remove(segment);
            at = parent;
        }
    }

    /// Calls `found` with the values of the patterns that match `name`, until it breaks.
    /// Returns how many steps that took.
    pub fn matching(&self, name: &str, mut found: impl FnMut(u32) -> ControlFlow<()>) -> u64 {
        let mut segments = [""; DEPTH];
        let mut count = 0;
        for segment in name.split('.') {
            if count < DEPTH {
                segments[count] = segment;
            }
            count += 1;
        }
        let mut steps = 0;
        // Nodes to look at, and how many segments of the name lead there.
        let mut left = vec![(ROOT, 0)];
        while let Some((at, depth)) = left.pop() {
            let node = self.node(at);
            steps += 1 + (node.here.len() + node.rest.len()) as u64;
            // A wildcard in front matches none of the server's own topics.
            let may_be_wild = depth > 0 || !is_reserved(name);
            if depth < count && may_be_wild {
                for &(_, value) in &node.rest {
                    if found(value).is_break() {
                        return steps;
                    }
                }
            }
            let is_end = depth == count;
            for (pattern, value) in &node.here {
                let is_match = match depth {
                    DEPTH => matches(pattern, name),
                    _ => is_end,
                };
                if is_match && found(*value).is_break() {
                    return steps;
                }
            }
            if is_end || depth == DEPTH {
                continue;
            }
            let wild = node.children.get("*").filter(|_| may_be_wild);
            let same = node.children.get(segments[depth]);
            left.extend(wild.into_iter().chain(same).map(|&child| (child, depth + 1)));
        }
        steps
    }

    /// How many nodes the tree has.
    #[cfg(test)]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::{is_pattern, is_topic_name};
    use super::*;

    #[test]
    fn the_index_finds_the_same_patterns_as_a_walk() {
        let mut random = fastrand::Rng::with_seed(5);
        let segments = ["a", "b", "cc", "*", ">", "$x"];
        let mut any = |most: usize, wild: bool| {
            let count = random.usize(1..=most);
            let kinds = if wild { segments.len() } else { 3 };
            let mut word = || segments[random.usize(..kinds)];
            (0..count).map(|_| word()).collect::<Vec<_>>().join(".")
        };
        let (mut index, mut twin): (_, Vec<(Arc<str>, u32)>) =
            (PatternIndex::default(), Vec::new());
        for round in 0..5_000 {
            let pattern: Arc<str> = any(9, true).into();
            if is_pattern(&pattern) {
                index.insert(&pattern, round);
                twin.push((pattern, round));
            }
            if round % 3 == 0 && !twin.is_empty() {
                let (pattern, value) = twin.swap_remove(round as usize % twin.len());
                index.remove(&pattern, value);
            }
            let mut name = any(9, false);
            if round % 5 == 0 {
                name.insert(0, '$');
            }
            assert!(is_topic_name(&name));
            let mut found = Vec::new();
            index.matching(&name, |value| {
                found.push(value);
                ControlFlow::Continue(())
            });
            let wanted = twin.iter().filter(|(pattern, _)| matches(pattern, &name));
            let mut wanted: Vec<u32> = wanted.map(|(_, value)| *value).collect();
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{name}");
        }
        for (pattern, value) in twin {
            index.remove(&pattern, value);
        }
        assert_eq!(index.nodes(), 1, "nodes go with their last pattern");
    }

    #[test]
    fn one_pattern_among_many_is_found_in_a_few_steps() {
        let mut index = PatternIndex::default();
        for number in 0..10_000 {
            index.insert(&format!("feed{number}.*").into(), number);
        }
        let mut found = Vec::new();
        let steps = index.matching("feed77.BTC", |value| {
            found.push(value);
            ControlFlow::Continue(())
        });
        assert!(found == [77] && steps < 8, "{found:?} in {steps} steps");
    }
}
