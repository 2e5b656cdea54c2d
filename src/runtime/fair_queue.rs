//! A fair queue: decides which object is reconciled next.
//!
//! Urgent requests (execution events and changed specs) are served before routine ones, and
//! namespaces alternate within a priority. A waiting object holds nothing but its entry in the
//! queue and is woken when it is granted a permit, because a controller polls every reconcile that
//! has begun whenever it polls one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Number of urgent requests that are served for each routine one while both wait.
const URGENT_PER_ROUTINE: usize = 7;

/// Priority of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The object is due for a periodic reconcile.
    Routine,
    /// The object is new, or its spec changed.
    Changed,
    /// An event arrived for the object, as when an execution ended. It rarely needs the AWS API
    /// that a change needs, so it must not wait behind a thousand changes.
    Event,
}

/// A request for a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Namespace of the object. Everything that its users cause, as by an annotation, counts
    /// against its share.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Class of the object, which stands for one AWS account and region. If AWS throttles calls
    /// there, only the reconciles of this class are held up.
    pub class: String,
    /// Priority of the request.
    pub priority: Priority,
}

/// Namespace and name of an object.
type Id = (String, String);

/// Wakes an object that was granted a permit.
type Wake = Box<dyn FnOnce() + Send>;

/// Limits how many reconciles run at once.
#[derive(Clone)]
pub struct FairQueue(Arc<Mutex<State>>);

/// Permission for one reconcile to run, given back when it is dropped.
pub struct Permit {
    queue: FairQueue,
    class: String,
}

struct State {
    /// Limit on all permits, and on the permits of one class.
    total: usize,
    per_class: usize,
    /// Number of permits that are granted, by class.
    granted: HashMap<String, usize>,
    /// Waiting requests by priority.
    levels: [Level; 3],
    /// Number of urgent requests served since the last routine one, and the priority of the last
    /// urgent one.
    urgent_served: usize,
    last_urgent: Priority,
    /// State of each object's request.
    entries: HashMap<Id, Entry>,
    next_ticket: u64,
}

enum Entry {
    /// The object waits. Only this ticket is valid: an older ticket of the same object is skipped.
    Waiting {
        ticket: u64,
        priority: Priority,
        wake: Wake,
    },
    /// The object was granted a permit of this class and has not collected it yet.
    Granted(String),
}

/// Waiting requests of one priority.
#[derive(Default)]
struct Level {
    /// Namespaces with waiting requests; the first one is served next.
    rotation: VecDeque<String>,
    /// Tickets and names, by namespace and class, oldest first.
    waiting: HashMap<String, HashMap<String, VecDeque<(u64, String)>>>,
}

/// A request that was removed from its level, to be granted a permit.
struct Candidate {
    id: Id,
    class: String,
    ticket: u64,
}

impl FairQueue {
    /// Allows `total` reconciles at once. One class gets at most three quarters of them, so that a
    /// permit remains for another class.
    pub fn new(total: u16) -> Self {
        let total = usize::from(total.max(1));
        Self(Arc::new(Mutex::new(State {
            total,
            per_class: (total * 3 / 4).max(1),
            granted: HashMap::new(),
            levels: Default::default(),
            urgent_served: 0,
            last_urgent: Priority::Changed,
            entries: HashMap::new(),
            next_ticket: 0,
        })))
    }

    /// Number of reconciles that may run at once.
    pub fn total(&self) -> u16 {
        u16::try_from(self.0.lock().expect("no panic while held").total).unwrap_or(u16::MAX)
    }

    /// Collects the permit that the object was woken for, if there is one.
    pub fn granted(&self, namespace: &str, name: &str) -> Option<Permit> {
        let id = (namespace.to_owned(), name.to_owned());
        let mut state = self.0.lock().expect("no panic while held");
        let Some(Entry::Granted(_)) = state.entries.get(&id) else {
            return None;
        };
        let Some(Entry::Granted(class)) = state.entries.remove(&id) else {
            return None;
        };
        Some(Permit {
            queue: self.clone(),
            class,
        })
    }

    /// Returns a permit if one is free. Otherwise the object waits, and `wake` is called once it is
    /// granted one.
    pub fn acquire(
        &self,
        request: Request,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Permit> {
        let id = (request.namespace.clone(), request.name.clone());
        self.0
            .lock()
            .expect("no panic while held")
            .enqueue(request, Box::new(wake));
        self.grant(Some(&id));
        self.granted(&id.0, &id.1)
    }

    /// Removes a deleted object from the queue and frees the permit that it did not collect.
    pub fn forget(&self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        let entry = {
            let mut state = self.0.lock().expect("no panic while held");
            state.entries.remove(&id)
        };
        if let Some(Entry::Granted(class)) = entry {
            drop(Permit {
                queue: self.clone(),
                class,
            });
        }
    }

    /// Grants all free permits and wakes the objects that got one. The object that is asking at
    /// this moment collects its permit itself and is not woken.
    fn grant(&self, asking: Option<&Id>) {
        loop {
            let next = self.0.lock().expect("no panic while held").grant_next();
            let Some((id, wake)) = next else { return };
            if asking != Some(&id) {
                wake();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.queue.0.lock().expect("no panic while held");
            if let Some(count) = state.granted.get_mut(&self.class) {
                *count -= 1;
                if *count == 0 {
                    state.granted.remove(&self.class);
                }
            }
        }
        self.queue.grant(None);
    }
}

impl State {
    /// Adds a request, unless the object waits already with the same priority or a higher one.
    fn enqueue(&mut self, request: Request, wake: Wake) {
        let Request {
            namespace,
            name,
            class,
            priority,
        } = request;
        let id = (namespace.clone(), name.clone());
        let waits = matches!(
            self.entries.get(&id),
            Some(Entry::Waiting { priority: current, .. }) if *current >= priority
        );
        if waits {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let entry = Entry::Waiting {
            ticket,
            priority,
            wake,
        };
        self.entries.insert(id, entry);
        self.levels[priority as usize].push(namespace, class, ticket, name);
    }

    /// Grants one permit, if one is free and somebody waits for it.
    fn grant_next(&mut self) -> Option<(Id, Wake)> {
        loop {
            if self.granted.values().sum::<usize>() >= self.total {
                return None;
            }
            let order = self.priorities();
            let Self {
                granted,
                per_class,
                levels,
                urgent_served,
                last_urgent,
                entries,
                ..
            } = self;
            let has_room = |class: &str| granted.get(class).is_none_or(|count| count < per_class);
            let next = order
                .into_iter()
                .find_map(|priority| Some((priority, levels[priority as usize].pop(has_room)?)));
            let (priority, candidate) = next?;
            let Candidate { id, class, ticket } = candidate;
            // The ticket is void if the object has a later one of higher priority, or was deleted.
            if !matches!(entries.get(&id), Some(Entry::Waiting { ticket: valid, .. }) if *valid == ticket)
            {
                continue;
            }
            let Some(Entry::Waiting { wake, .. }) =
                entries.insert(id.clone(), Entry::Granted(class.clone()))
            else {
                continue;
            };
            if priority == Priority::Routine {
                *urgent_served = 0;
            } else {
                *urgent_served += 1;
                *last_urgent = priority;
            }
            *granted.entry(class).or_default() += 1;
            return Some((id, wake));
        }
    }

    /// The order in which the levels are searched. Events and changes alternate; routine requests
    /// come first once enough urgent ones were served in a row.
    fn priorities(&self) -> [Priority; 3] {
        let alternate = match self.last_urgent {
            Priority::Event => Priority::Changed,
            Priority::Changed | Priority::Routine => Priority::Event,
        };
        if self.urgent_served >= URGENT_PER_ROUTINE {
            [Priority::Routine, alternate, self.last_urgent]
        } else {
            [alternate, self.last_urgent, Priority::Routine]
        }
    }
}

impl Level {
    fn push(&mut self, namespace: String, class: String, ticket: u64, name: String) {
        if !self.waiting.contains_key(&namespace) {
            self.rotation.push_back(namespace.clone());
        }
        self.waiting
            .entry(namespace)
            .or_default()
            .entry(class)
            .or_default()
            .push_back((ticket, name));
    }

    /// Takes the next request whose class has room; its namespace moves to the end of the rotation.
    fn pop(&mut self, has_room: impl Fn(&str) -> bool) -> Option<Candidate> {
        for index in 0..self.rotation.len() {
            let namespace = &self.rotation[index];
            let by_class = self.waiting.get_mut(namespace)?;
            let oldest = by_class
                .iter()
                .filter(|(class, _)| has_room(class))
                .min_by_key(|(_, requests)| requests.front().map(|(ticket, _)| *ticket));
            let Some(class) = oldest.map(|(class, _)| class.clone()) else {
                continue;
            };
            let requests = by_class.get_mut(&class)?;
            let (ticket, name) = requests.pop_front()?;
            if requests.is_empty() {
                by_class.remove(&class);
            }
            let emptied = by_class.is_empty();
            let namespace = self.rotation.remove(index)?;
            if emptied {
                self.waiting.remove(&namespace);
            } else {
                self.rotation.push_back(namespace.clone());
            }
            return Some(Candidate {
                id: (namespace, name),
                class,
                ticket,
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(namespace: &str, name: usize, class: &str, priority: Priority) -> Request {
        Request {
            namespace: namespace.into(),
            name: name.to_string(),
            class: class.into(),
            priority,
        }
    }

    /// A queue that records which requests were woken.
    struct RecordedQueue {
        queue: FairQueue,
        woken: Arc<Mutex<VecDeque<Request>>>,
    }

    impl RecordedQueue {
        fn new(total: u16) -> Self {
            Self {
                queue: FairQueue::new(total),
                woken: Arc::default(),
            }
        }

        fn acquire(&self, request: Request) -> Option<Permit> {
            let (woken, requested) = (Arc::clone(&self.woken), request.clone());
            self.queue
                .acquire(request, move || woken.lock().unwrap().push_back(requested))
        }

        fn next_woken(&self) -> Option<Request> {
            self.woken.lock().unwrap().pop_front()
        }

        /// The order in which waiting requests are served, one at a time, once `running` is given
        /// back.
        fn served_after(&self, running: Permit, requests: Vec<Request>) -> Vec<Request> {
            for request in requests {
                assert!(self.acquire(request).is_none());
            }
            drop(running);
            let mut served = Vec::new();
            while let Some(request) = self.next_woken() {
                let permit = self
                    .queue
                    .granted(&request.namespace, &request.name)
                    .expect("a woken object has a permit");
                served.push(request);
                drop(permit);
            }
            served
        }
    }

    /// The number of requests with this priority.
    fn count(requests: &[Request], priority: Priority) -> usize {
        requests.iter().filter(|r| r.priority == priority).count()
    }

    #[test]
    fn a_namespace_with_many_objects_does_not_starve_one_with_few() {
        let queue = RecordedQueue::new(1);
        let running = queue
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..100)
            .map(|n| request("many", n, "p", Priority::Changed))
            .collect();
        requests.push(request("few", 0, "p", Priority::Changed));
        let served = queue.served_after(running, requests);
        assert_eq!(served.len(), 101);
        assert!(served.iter().position(|r| r.namespace == "few").unwrap() <= 2);
    }

    #[test]
    fn changes_come_before_routine_reconciles_and_do_not_starve_them() {
        let queue = RecordedQueue::new(1);
        let running = queue
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..20)
            .map(|n| request("a", n, "p", Priority::Routine))
            .collect();
        requests.extend((0..20).map(|n| request("b", n, "p", Priority::Changed)));
        let served = queue.served_after(running, requests);
        let routine = count(&served[..20], Priority::Routine);
        assert!((1..=3).contains(&routine), "{routine}");
    }

    #[test]
    fn events_alternate_with_changes() {
        let queue = RecordedQueue::new(1);
        let running = queue
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        let mut requests: Vec<Request> = (0..20)
            .map(|n| request("a", n, "p", Priority::Changed))
            .collect();
        requests.extend((20..40).map(|n| request("a", n, "p", Priority::Event)));
        let served = queue.served_after(running, requests);
        assert_eq!(count(&served[..20], Priority::Event), 10);
    }

    #[test]
    fn a_slow_class_leaves_permits_to_others() {
        let queue = RecordedQueue::new(4);
        let mut slow: Vec<Permit> = (0..3)
            .map(|n| {
                queue
                    .acquire(request("a", n, "slow", Priority::Changed))
                    .unwrap()
            })
            .collect();
        let fourth = queue.acquire(request("a", 3, "slow", Priority::Changed));
        assert!(fourth.is_none());
        let other = queue
            .acquire(request("a", 4, "other", Priority::Routine))
            .unwrap();
        assert!(queue.next_woken().is_none());
        drop((slow.pop(), other));
        assert_eq!(queue.next_woken().unwrap().name, "3");
    }

    #[test]
    fn a_repeated_request_keeps_its_highest_priority_and_a_deleted_object_frees_its_permit() {
        let queue = RecordedQueue::new(1);
        let running = queue
            .acquire(request("x", 0, "p", Priority::Changed))
            .unwrap();
        for waiting in [
            request("a", 1, "p", Priority::Routine),
            request("a", 2, "p", Priority::Changed),
            request("a", 1, "p", Priority::Changed),
            request("a", 1, "p", Priority::Routine),
        ] {
            assert!(queue.acquire(waiting).is_none());
        }
        drop(running);
        assert_eq!(queue.next_woken().unwrap().name, "2");
        queue.queue.forget("a", "2");
        assert_eq!(
            queue.next_woken().unwrap(),
            request("a", 1, "p", Priority::Changed)
        );
        drop(queue.queue.granted("a", "1").unwrap());
        assert!(queue.next_woken().is_none());
        let again = queue.acquire(request("a", 1, "p", Priority::Routine));
        assert!(again.is_some());
    }
}
