//! Whose pass is next: what changed goes before what is only looked at again, and namespaces take turns.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

/// How many turns go to what changed for one that goes to a look, while both wait.
const CHANGED_FIRST: usize = 7;

/// Who asks for a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its namespace; what anybody may cause in it, as by an annotation, counts against its share.
    pub namespace: String,
    /// Where its calls go: the class, which is an account and region. One that throttles holds its own passes alone.
    pub place: String,
    /// Whether it is new or changed, or was heard of, and is not only looked at again.
    pub changed: bool,
}

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
    changed: Line,
    looks: Line,
    /// Turns given to what changed since the last look.
    in_a_row: usize,
}

/// Those that wait, by namespace, and the namespaces in the order of their turns.
#[derive(Default)]
struct Line {
    order: VecDeque<String>,
    waiting: HashMap<String, VecDeque<(String, oneshot::Sender<Turn>)>>,
}

impl Turns {
    /// So many at once; of them three in four in one place, so that another place always finds one.
    pub fn new(total: u16) -> Self {
        let total = usize::from(total.max(1));
        Self(Arc::new(Mutex::new(State {
            total,
            in_place: (total * 3 / 4).max(1),
            running: HashMap::new(),
            changed: Line::default(),
            looks: Line::default(),
            in_a_row: 0,
        })))
    }

    /// Waits for a turn.
    pub async fn take(&self, request: Request) -> Turn {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.0.lock().expect("no panic while held");
            let line = if request.changed { &mut state.changed } else { &mut state.looks };
            line.push(request.namespace, request.place, sender);
        }
        self.give();
        receiver.await.expect("whoever waits is given a turn")
    }

    /// Gives turns to those that wait, as far as there are any.
    fn give(&self) {
        loop {
            let next = self.0.lock().expect("no panic while held").next();
            let Some((place, sender)) = next else { return };
            // Whoever has gone away meanwhile drops its turn, which counts it back.
            let _ = sender.send(Turn { turns: self.clone(), place });
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
        self.turns.give();
    }
}

impl State {
    fn next(&mut self) -> Option<(String, oneshot::Sender<Turn>)> {
        if self.running.values().sum::<usize>() >= self.total {
            return None;
        }
        let Self { running, in_place, changed, looks, in_a_row, .. } = self;
        let free = |place: &str| running.get(place).is_none_or(|count| count < in_place);
        let looks_first = *in_a_row >= CHANGED_FIRST;
        let next = if looks_first { looks.pop(free) } else { None };
        let next = next.map(|n| (n, false)).or_else(|| Some((changed.pop(free)?, true)));
        let (next, was_changed) = next.or_else(|| Some((looks.pop(free)?, false)))?;
        *in_a_row = if was_changed { *in_a_row + 1 } else { 0 };
        *running.entry(next.0.clone()).or_default() += 1;
        Some(next)
    }
}

impl Line {
    fn push(&mut self, namespace: String, place: String, sender: oneshot::Sender<Turn>) {
        let waiting = self.waiting.entry(namespace.clone()).or_default();
        if waiting.is_empty() {
            self.order.push_back(namespace);
        }
        waiting.push_back((place, sender));
    }

    /// The next one whose place is free; its namespace goes to the end of the row.
    fn pop(&mut self, free: impl Fn(&str) -> bool) -> Option<(String, oneshot::Sender<Turn>)> {
        for index in 0..self.order.len() {
            let namespace = &self.order[index];
            let waiting = self.waiting.get_mut(namespace)?;
            let Some(found) = waiting.iter().position(|(place, _)| free(place)) else { continue };
            let next = waiting.remove(found);
            let namespace = self.order.remove(index)?;
            match waiting.is_empty() {
                true => self.waiting.remove(&namespace).map(|_| ()),
                false => {
                    self.order.push_back(namespace);
                    None
                }
            };
            return next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(namespace: &str, place: &str, changed: bool) -> Request {
        Request { namespace: namespace.into(), place: place.into(), changed }
    }

    /// The order in which these are served, one after the other, once what runs has ended.
    async fn order(turns: &Turns, running: Turn, requests: Vec<Request>) -> Vec<Request> {
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for request in requests {
            let (turns, served) = (turns.clone(), Arc::clone(&served));
            tasks.push(tokio::spawn(async move {
                let turn = turns.take(request.clone()).await;
                served.lock().unwrap().push(request);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(running);
        for task in tasks {
            task.await.unwrap();
        }
        Arc::into_inner(served).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_namespace_with_many_does_not_starve_one_with_few() {
        let turns = Turns::new(1);
        let running = turns.take(request("x", "p", true)).await;
        let mut requests = vec![request("many", "p", true); 100];
        requests.push(request("few", "p", true));
        let served = order(&turns, running, requests).await;
        assert_eq!(served.len(), 101);
        assert!(served.iter().position(|r| r.namespace == "few").unwrap() <= 2);
    }

    #[tokio::test]
    async fn what_changed_goes_first_and_looks_are_not_starved() {
        let turns = Turns::new(1);
        let running = turns.take(request("x", "p", true)).await;
        let mut requests = vec![request("a", "p", false); 20];
        requests.extend(vec![request("b", "p", true); 20]);
        let served = order(&turns, running, requests).await;
        let looks = served[..20].iter().filter(|r| !r.changed).count();
        assert!((1..=3).contains(&looks), "{looks}");
    }

    #[tokio::test]
    async fn an_account_that_is_slow_leaves_turns_to_others() {
        let turns = Turns::new(4);
        let mut slow = Vec::new();
        for _ in 0..3 {
            slow.push(turns.take(request("a", "slow", true)).await);
        }
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(request("a", "slow", true)).await }
        });
        tokio::task::yield_now().await;
        let other = turns.take(request("a", "other", false)).await;
        assert!(!waiting.is_finished());
        drop((slow.pop(), other));
        waiting.await.unwrap();
    }
}
