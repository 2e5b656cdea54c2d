//! Whose pass is next: what was heard of and what changed, in turn, before what is only looked at
//! again; and namespaces take turns.
//!
//! Whoever waits holds nothing but its place in the row, and is woken when it is its turn: a
//! controller polls every pass that has begun whenever it polls one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

/// How many turns go to what was heard of or changed for one that goes to a look, while both wait.
const NEWS_FIRST: usize = 7;

/// Why a pass is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is only looked at again.
    Look,
    /// It is new, or its spec changed.
    Changed,
    /// Something happened to it: an execution ended. Mostly that takes another API than a change
    /// does, and would be waited for in vain behind a thousand of them.
    Heard,
}

/// Who asks for a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its namespace; what anybody may cause in it, as by an annotation, counts against its share.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where its calls go: the class, which is an account and region. One that throttles holds its
    /// own passes alone.
    pub place: String,
    /// Why.
    pub why: Why,
}

/// Namespace and name.
type Id = (String, String);

/// A limited number of passes at once.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

/// A pass may run until this is dropped.
pub struct Turn {
    turns: Turns,
    place: String,
}

struct State {
    /// At once, and of them in one place.
    total: usize,
    in_place: usize,
    running: HashMap<String, usize>,
    /// By why.
    lines: [Line; 3],
    /// Turns given to anything else since the last look, and to what of that the last one was.
    in_a_row: usize,
    last: Why,
    asked: HashMap<Id, Asked>,
    tickets: u64,
}

enum Asked {
    /// It waits; another ticket of the same object counts for nothing.
    Waits {
        ticket: u64,
        why: Why,
        wake: Box<dyn FnOnce() + Send>,
    },
    /// It has a turn in this place, and has not taken it up yet.
    Given(String),
}

/// Those that wait, by namespace and place, and the namespaces in the order of their turns.
#[derive(Default)]
struct Line {
    order: VecDeque<String>,
    waiting: HashMap<String, HashMap<String, VecDeque<(u64, String)>>>,
}

impl Turns {
    /// So many at once; of them three in four in one place, so that another place always finds one.
    pub fn new(total: u16) -> Self {
        let total = usize::from(total.max(1));
        Self(Arc::new(Mutex::new(State {
            total,
            in_place: (total * 3 / 4).max(1),
            running: HashMap::new(),
            lines: Default::default(),
            in_a_row: 0,
            last: Why::Changed,
            asked: HashMap::new(),
            tickets: 0,
        })))
    }

    /// How many there are at once.
    pub fn total(&self) -> u16 {
        u16::try_from(self.0.lock().expect("no panic while held").total).unwrap_or(u16::MAX)
    }

    /// The turn that it was woken for, if it was.
    pub fn given(&self, namespace: &str, name: &str) -> Option<Turn> {
        let id = (namespace.to_owned(), name.to_owned());
        let mut state = self.0.lock().expect("no panic while held");
        let Some(Asked::Given(_)) = state.asked.get(&id) else {
            return None;
        };
        let Some(Asked::Given(place)) = state.asked.remove(&id) else {
            return None;
        };
        Some(Turn {
            turns: self.clone(),
            place,
        })
    }

    /// A turn if there is one now; else it waits in the row, and is woken.
    pub fn take(&self, request: Request, wake: impl FnOnce() + Send + 'static) -> Option<Turn> {
        let Request {
            namespace,
            name,
            place,
            why,
        } = request;
        let id = (namespace.clone(), name.clone());
        {
            let mut state = self.0.lock().expect("no panic while held");
            let waits = matches!(state.asked.get(&id), Some(Asked::Waits { why: before, .. }) if *before >= why);
            if !waits {
                let ticket = state.tickets;
                state.tickets += 1;
                let asked = Asked::Waits {
                    ticket,
                    why,
                    wake: Box::new(wake),
                };
                state.asked.insert(id.clone(), asked);
                state.lines[why as usize].push(id.0.clone(), place, ticket, id.1.clone());
            }
        }
        self.give(Some(&id));
        self.given(&namespace, &name)
    }

    /// It is not there any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        let asked = {
            let mut state = self.0.lock().expect("no panic while held");
            state.asked.remove(&id)
        };
        if let Some(Asked::Given(place)) = asked {
            drop(Turn {
                turns: self.clone(),
                place,
            });
        }
    }

    /// Gives turns to those that wait, as far as there are any; whoever asks at this moment need
    /// not be woken.
    fn give(&self, asks: Option<&Id>) {
        loop {
            let next = self.0.lock().expect("no panic while held").next();
            let Some((id, wake)) = next else { return };
            if asks != Some(&id) {
                wake();
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.0.lock().expect("no panic while held");
            if let Some(count) = state.running.get_mut(&self.place) {
                *count -= 1;
                if *count == 0 {
                    state.running.remove(&self.place);
                }
            }
        }
        self.turns.give(None);
    }
}

impl State {
    fn next(&mut self) -> Option<(Id, Box<dyn FnOnce() + Send>)> {
        loop {
            if self.running.values().sum::<usize>() >= self.total {
                return None;
            }
            let other = if self.last == Why::Heard {
                Why::Changed
            } else {
                Why::Heard
            };
            let order = match self.in_a_row >= NEWS_FIRST {
                true => [Why::Look, other, self.last],
                false => [other, self.last, Why::Look],
            };
            let Self {
                running,
                in_place,
                lines,
                in_a_row,
                last,
                asked,
                ..
            } = self;
            let free = |place: &str| running.get(place).is_none_or(|count| count < in_place);
            let next = order
                .into_iter()
                .find_map(|why| Some((why, lines[why as usize].pop(free)?)));
            let (why, Waiting { id, place, ticket }) = next?;
            // Who asked again has a better place in the row, or is gone.
            if !matches!(asked.get(&id), Some(Asked::Waits { ticket: last, .. }) if *last == ticket)
            {
                continue;
            }
            let Some(Asked::Waits { wake, .. }) =
                asked.insert(id.clone(), Asked::Given(place.clone()))
            else {
                continue;
            };
            if why == Why::Look {
                *in_a_row = 0;
            } else {
                *in_a_row += 1;
                *last = why;
            }
            *running.entry(place).or_default() += 1;
            return Some((id, wake));
        }
    }
}

/// One that waits.
struct Waiting {
    id: Id,
    place: String,
    ticket: u64,
}

impl Line {
    fn push(&mut self, namespace: String, place: String, ticket: u64, name: String) {
        if !self.waiting.contains_key(&namespace) {
            self.order.push_back(namespace.clone());
        }
        self.waiting
            .entry(namespace)
            .or_default()
            .entry(place)
            .or_default()
            .push_back((ticket, name));
    }

    /// The next one whose place is free; its namespace goes to the end of the row.
    fn pop(&mut self, free: impl Fn(&str) -> bool) -> Option<Waiting> {
        for index in 0..self.order.len() {
            let namespace = &self.order[index];
            let places = self.waiting.get_mut(namespace)?;
            let first = places.iter().filter(|(place, _)| free(place));
            let first = first.min_by_key(|(_, row)| row.front().map(|(ticket, _)| *ticket));
            let Some(place) = first.map(|(place, _)| place.clone()) else {
                continue;
            };
            let row = places.get_mut(&place)?;
            let (ticket, name) = row.pop_front()?;
            if row.is_empty() {
                places.remove(&place);
            }
            let emptied = places.is_empty();
            let namespace = self.order.remove(index)?;
            if emptied {
                self.waiting.remove(&namespace);
            } else {
                self.order.push_back(namespace.clone());
            }
            return Some(Waiting {
                id: (namespace, name),
                place,
                ticket,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(namespace: &str, name: usize, place: &str, why: Why) -> Request {
        Request {
            namespace: namespace.into(),
            name: name.to_string(),
            place: place.into(),
            why,
        }
    }

    /// A row that tells who was woken.
    struct Row {
        turns: Turns,
        woken: Arc<Mutex<VecDeque<Request>>>,
    }

    impl Row {
        fn new(total: u16) -> Self {
            Self {
                turns: Turns::new(total),
                woken: Arc::default(),
            }
        }

        fn take(&self, request: Request) -> Option<Turn> {
            let (woken, who) = (Arc::clone(&self.woken), request.clone());
            self.turns
                .take(request, move || woken.lock().unwrap().push_back(who))
        }

        fn woken(&self) -> Option<Request> {
            self.woken.lock().unwrap().pop_front()
        }

        /// The order in which these are served, one after the other, once what runs has ended.
        fn order(&self, running: Turn, requests: Vec<Request>) -> Vec<Request> {
            for request in requests {
                assert!(self.take(request).is_none());
            }
            drop(running);
            let mut served = Vec::new();
            while let Some(request) = self.woken() {
                let turn = self
                    .turns
                    .given(&request.namespace, &request.name)
                    .expect("it was woken for it");
                served.push(request);
                drop(turn);
            }
            served
        }
    }

    #[test]
    fn a_namespace_with_many_does_not_starve_one_with_few() {
        let row = Row::new(1);
        let running = row.take(request("x", 0, "p", Why::Changed)).unwrap();
        let mut requests: Vec<Request> = (0..100)
            .map(|n| request("many", n, "p", Why::Changed))
            .collect();
        requests.push(request("few", 0, "p", Why::Changed));
        let served = row.order(running, requests);
        assert_eq!(served.len(), 101);
        assert!(served.iter().position(|r| r.namespace == "few").unwrap() <= 2);
    }

    #[test]
    fn what_changed_goes_first_and_looks_are_not_starved() {
        let row = Row::new(1);
        let running = row.take(request("x", 0, "p", Why::Changed)).unwrap();
        let mut requests: Vec<Request> = (0..20).map(|n| request("a", n, "p", Why::Look)).collect();
        requests.extend((0..20).map(|n| request("b", n, "p", Why::Changed)));
        let served = row.order(running, requests);
        let looks = served[..20].iter().filter(|r| r.why == Why::Look).count();
        assert!((1..=3).contains(&looks), "{looks}");
    }

    #[test]
    fn what_was_heard_of_does_not_wait_for_all_that_changed() {
        let row = Row::new(1);
        let running = row.take(request("x", 0, "p", Why::Changed)).unwrap();
        let mut requests: Vec<Request> = (0..20)
            .map(|n| request("a", n, "p", Why::Changed))
            .collect();
        requests.extend((20..40).map(|n| request("a", n, "p", Why::Heard)));
        let served = row.order(running, requests);
        let heard = served[..20].iter().filter(|r| r.why == Why::Heard).count();
        assert_eq!(heard, 10);
    }

    #[test]
    fn an_account_that_is_slow_leaves_turns_to_others() {
        let row = Row::new(4);
        let mut slow: Vec<Turn> = (0..3)
            .map(|n| row.take(request("a", n, "slow", Why::Changed)).unwrap())
            .collect();
        assert!(row.take(request("a", 3, "slow", Why::Changed)).is_none());
        let other = row.take(request("a", 4, "other", Why::Look)).unwrap();
        assert!(row.woken().is_none());
        drop((slow.pop(), other));
        assert_eq!(row.woken().unwrap().name, "3");
    }

    #[test]
    fn who_asks_again_keeps_one_place_the_better_one_and_who_is_gone_gives_its_turn_back() {
        let row = Row::new(1);
        let running = row.take(request("x", 0, "p", Why::Changed)).unwrap();
        assert!(row.take(request("a", 1, "p", Why::Look)).is_none());
        assert!(row.take(request("a", 2, "p", Why::Changed)).is_none());
        assert!(row.take(request("a", 1, "p", Why::Changed)).is_none());
        assert!(row.take(request("a", 1, "p", Why::Look)).is_none());
        drop(running);
        assert_eq!(row.woken().unwrap().name, "2");
        row.turns.forget("a", "2");
        assert_eq!(row.woken().unwrap(), request("a", 1, "p", Why::Changed));
        drop(row.turns.given("a", "1").unwrap());
        assert!(row.woken().is_none() && row.take(request("a", 1, "p", Why::Look)).is_some());
    }
}
