//! Whose pass is next: what was heard of and what changed, in permit, before what is only looked at
//! again; and namespaces take queue.
//!
//! Whoever waits holds nothing but its account in the row, and is woken when it is its permit: a
//! controller polls every pass that has begun whenever it polls one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

/// How many queue go to what was heard of or changed for one that goes to a look, while both wait.
const URGENT_FIRST: usize = 7;

/// Priority a pass is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// It is only looked at again.
    Routine,
    /// It is new, or its spec changed.
    Changed,
    /// Something happened to it: an execution ended. Mostly that takes another API than a change
    /// does, and would be waited for in vain behind a thousand of them.
    Event,
}

/// Who asks for a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its namespace; what anybody may cause in it, as by an annotation, counts against its share.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where its calls go: the class, which is an account and region. One that throttles holds its
    /// own passes alone.
    pub account: String,
    /// Priority.
    pub priority: Priority,
}

/// Namespace and name.
type Id = (String, String);

/// A limited number of passes at once.
#[derive(Clone)]
pub struct FairQueue(Arc<Mutex<State>>);

/// A pass may run until this is dropped.
pub struct Permit {
    queue: FairQueue,
    account: String,
}

struct State {
    /// At once, and of them in one account.
    total: usize,
    per_account: usize,
    running: HashMap<String, usize>,
    /// By priority.
    lines: [Line; 3],
    /// FairQueue given to anything else since the last look, and to what of that the last one was.
    in_a_row: usize,
    last: Priority,
    asked: HashMap<Id, Asked>,
    tickets: u64,
}

enum Asked {
    /// It waits; another ticket of the same object counts for nothing.
    Waits {
        ticket: u64,
        priority: Priority,
        wake: Box<dyn FnOnce() + Send>,
    },
    /// It has a permit in this account, and has not taken it up yet.
    Granted(String),
}

/// Those that wait, by namespace and account, and the namespaces in the order of their queue.
#[derive(Default)]
struct Line {
    order: VecDeque<String>,
    waiting: HashMap<String, HashMap<String, VecDeque<(u64, String)>>>,
}

impl FairQueue {
    /// So many at once; of them three in four in one account, so that another account always finds one.
    pub fn new(total: u16) -> Self {
        let total = usize::from(total.max(1));
        Self(Arc::new(Mutex::new(State {
            total,
            per_account: (total * 3 / 4).max(1),
            running: HashMap::new(),
            lines: Default::default(),
            in_a_row: 0,
            last: Priority::Changed,
            asked: HashMap::new(),
            tickets: 0,
        })))
    }

    /// How many there are at once.
    pub fn total(&self) -> u16 {
        u16::try_from(self.0.lock().expect("no panic while held").total).unwrap_or(u16::MAX)
    }

    /// The permit that it was woken for, if it was.
    pub fn granted(&self, namespace: &str, name: &str) -> Option<Permit> {
        let id = (namespace.to_owned(), name.to_owned());
        let mut state = self.0.lock().expect("no panic while held");
        let Some(Asked::Granted(_)) = state.asked.get(&id) else {
            return None;
        };
        let Some(Asked::Granted(account)) = state.asked.remove(&id) else {
            return None;
        };
        Some(Permit {
            queue: self.clone(),
            account,
        })
    }

    /// A permit if there is one now; else it waits in the row, and is woken.
    pub fn acquire(
        &self,
        request: Request,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Permit> {
        let Request {
            namespace,
            name,
            account,
            priority,
        } = request;
        let id = (namespace.clone(), name.clone());
        {
            let mut state = self.0.lock().expect("no panic while held");
            let waits = matches!(state.asked.get(&id), Some(Asked::Waits { priority: before, .. }) if *before >= priority);
            if !waits {
                let ticket = state.tickets;
                state.tickets += 1;
                let asked = Asked::Waits {
                    ticket,
                    priority,
                    wake: Box::new(wake),
                };
                state.asked.insert(id.clone(), asked);
                state.lines[priority as usize].push(id.0.clone(), account, ticket, id.1.clone());
            }
        }
        self.grant(Some(&id));
        self.granted(&namespace, &name)
    }

    /// It is not there any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        let asked = {
            let mut state = self.0.lock().expect("no panic while held");
            state.asked.remove(&id)
        };
        if let Some(Asked::Granted(account)) = asked {
            drop(Permit {
                queue: self.clone(),
                account,
            });
        }
    }

    /// Gives queue to those that wait, as far as there are any; whoever asks at this moment need
    /// not be woken.
    fn grant(&self, asks: Option<&Id>) {
        loop {
            let next = self.0.lock().expect("no panic while held").next();
            let Some((id, wake)) = next else { return };
            if asks != Some(&id) {
                wake();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.queue.0.lock().expect("no panic while held");
            if let Some(count) = state.running.get_mut(&self.account) {
                *count -= 1;
                if *count == 0 {
                    state.running.remove(&self.account);
                }
            }
        }
        self.queue.grant(None);
    }
}

impl State {
    fn next(&mut self) -> Option<(Id, Box<dyn FnOnce() + Send>)> {
        loop {
            if self.running.values().sum::<usize>() >= self.total {
                return None;
            }
            let other = if self.last == Priority::Event {
                Priority::Changed
            } else {
                Priority::Event
            };
            let order = match self.in_a_row >= URGENT_FIRST {
                true => [Priority::Routine, other, self.last],
                false => [other, self.last, Priority::Routine],
            };
            let Self {
                running,
                per_account,
                lines,
                in_a_row,
                last,
                asked,
                ..
            } = self;
            let free = |account: &str| running.get(account).is_none_or(|count| count < per_account);
            let next = order
                .into_iter()
                .find_map(|priority| Some((priority, lines[priority as usize].pop(free)?)));
            let (
                priority,
                Waiting {
                    id,
                    account,
                    ticket,
                },
            ) = next?;
            // Who asked again has a better account in the row, or is gone.
            if !matches!(asked.get(&id), Some(Asked::Waits { ticket: last, .. }) if *last == ticket)
            {
                continue;
            }
            let Some(Asked::Waits { wake, .. }) =
                asked.insert(id.clone(), Asked::Granted(account.clone()))
            else {
                continue;
            };
            if priority == Priority::Routine {
                *in_a_row = 0;
            } else {
                *in_a_row += 1;
                *last = priority;
            }
            *running.entry(account).or_default() += 1;
            return Some((id, wake));
        }
    }
}

/// One that waits.
struct Waiting {
    id: Id,
    account: String,
    ticket: u64,
}

impl Line {
    fn push(&mut self, namespace: String, account: String, ticket: u64, name: String) {
        if !self.waiting.contains_key(&namespace) {
            self.order.push_back(namespace.clone());
        }
        self.waiting
            .entry(namespace)
            .or_default()
            .entry(account)
            .or_default()
            .push_back((ticket, name));
    }

    /// The next one whose account is free; its namespace goes to the end of the row.
    fn pop(&mut self, free: impl Fn(&str) -> bool) -> Option<Waiting> {
        for index in 0..self.order.len() {
            let namespace = &self.order[index];
            let places = self.waiting.get_mut(namespace)?;
            let first = places.iter().filter(|(account, _)| free(account));
            let first = first.min_by_key(|(_, row)| row.front().map(|(ticket, _)| *ticket));
            let Some(account) = first.map(|(account, _)| account.clone()) else {
                continue;
            };
            let row = places.get_mut(&account)?;
            let (ticket, name) = row.pop_front()?;
            if row.is_empty() {
                places.remove(&account);
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
                account,
                ticket,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(namespace: &str, name: usize, account: &str, priority: Priority) -> Request {
        Request {
            namespace: namespace.into(),
            name: name.to_string(),
            account: account.into(),
            priority,
        }
    }

    /// A row that tells who was woken.
    struct Harness {
        queue: FairQueue,
        woken: Arc<Mutex<VecDeque<Request>>>,
    }

    impl Harness {
        fn new(total: u16) -> Self {
            Self {
                queue: FairQueue::new(total),
                woken: Arc::default(),
            }
        }

        fn acquire(&self, request: Request) -> Option<Permit> {
            let (woken, who) = (Arc::clone(&self.woken), request.clone());
            self.queue
                .acquire(request, move || woken.lock().unwrap().push_back(who))
        }

        fn woken(&self) -> Option<Request> {
            self.woken.lock().unwrap().pop_front()
        }

        /// The order in which these are served, one after the other, once what runs has ended.
        fn order(&self, running: Permit, requests: Vec<Request>) -> Vec<Request> {
            for request in requests {
                assert!(self.acquire(request).is_none());
            }
            drop(running);
            let mut served = Vec::new();
            while let Some(request) = self.woken() {
                let permit = self
                    .queue
                    .granted(&request.namespace, &request.name)
                    .expect("it was woken for it");
                served.push(request);
                drop(permit);
            }
            served
        }
    }

    #[test]
    fn a_namespace_with_many_does_not_starve_one_with_few() {
        let row = Harness::new(1);
        let running = row
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..100)
            .map(|n| request("many", n, "p", Priority::Changed))
            .collect();
        requests.push(request("few", 0, "p", Priority::Changed));
        let served = row.order(running, requests);
        assert_eq!(served.len(), 101);
        assert!(served.iter().position(|r| r.namespace == "few").unwrap() <= 2);
    }

    #[test]
    fn what_changed_goes_first_and_looks_are_not_starved() {
        let row = Harness::new(1);
        let running = row
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..20)
            .map(|n| request("a", n, "p", Priority::Routine))
            .collect();
        requests.extend((0..20).map(|n| request("b", n, "p", Priority::Changed)));
        let served = row.order(running, requests);
        let looks = served[..20]
            .iter()
            .filter(|r| r.priority == Priority::Routine)
            .count();
        assert!((1..=3).contains(&looks), "{looks}");
    }

    #[test]
    fn what_was_heard_of_does_not_wait_for_all_that_changed() {
        let row = Harness::new(1);
        let running = row
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..20)
            .map(|n| request("a", n, "p", Priority::Changed))
            .collect();
        requests.extend((20..40).map(|n| request("a", n, "p", Priority::Event)));
        let served = row.order(running, requests);
        let heard = served[..20]
            .iter()
            .filter(|r| r.priority == Priority::Event)
            .count();
        assert_eq!(heard, 10);
    }

    #[test]
    fn an_account_that_is_slow_leaves_turns_to_others() {
        let row = Harness::new(4);
        let mut slow: Vec<Permit> = (0..3)
            .map(|n| {
                row.acquire(request("a", n, "slow", Priority::Changed))
                    .unwrap()
            })
            .collect();
        assert!(
            row.acquire(request("a", 3, "slow", Priority::Changed))
                .is_none()
        );
        let other = row
            .acquire(request("a", 4, "other", Priority::Routine))
            .unwrap();
        assert!(row.woken().is_none());
        drop((slow.pop(), other));
        assert_eq!(row.woken().unwrap().name, "3");
    }

    #[test]
    fn who_asks_again_keeps_one_place_the_better_one_and_who_is_gone_gives_its_turn_back() {
        let row = Harness::new(1);
        let running = row
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        assert!(
            row.acquire(request("a", 1, "p", Priority::Routine))
                .is_none()
        );
        assert!(
            row.acquire(request("a", 2, "p", Priority::Changed))
                .is_none()
        );
        assert!(
            row.acquire(request("a", 1, "p", Priority::Changed))
                .is_none()
        );
        assert!(
            row.acquire(request("a", 1, "p", Priority::Routine))
                .is_none()
        );
        drop(running);
        assert_eq!(row.woken().unwrap().name, "2");
        row.queue.forget("a", "2");
        assert_eq!(
            row.woken().unwrap(),
            request("a", 1, "p", Priority::Changed)
        );
        drop(row.queue.granted("a", "1").unwrap());
        assert!(
            row.woken().is_none()
                && row
                    .acquire(request("a", 1, "p", Priority::Routine))
                    .is_some()
        );
    }
}
