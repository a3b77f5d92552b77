//! One run: callers in bursts, and an operator who changes things under them.

use std::time::Duration;

use evenkeel::cache::Invalidate;
use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{Limits, TenantId};
use futures::future::{join, join_all};

use crate::books::{self, Tally};
use crate::caller::{Caller, Told};
use crate::world::{Mood, World};

const CALLERS: u64 = 12;
/// Of a fleet, whose calls are many times the work.
const CALLERS_OF_A_FLEET: u64 = 5;
const CALLS: u64 = 4;

/// One world from its first call to its end, and what came of it.
pub(crate) async fn run(mood: Mood, seed: u64) -> Tally {
    let rng = Rng::from_seed(seed);
    let world = World::new(mood, &rng);
    let most = if mood == Mood::Fleet { CALLERS_OF_A_FLEET } else { CALLERS };
    let callers = 2 + rng.below(most);
    let callers = (0..callers).map(|_| {
        let rng = Rng::from_seed(rng.next_u64());
        calls(&world, rng)
    });
    let operator = operate(&world, Rng::from_seed(rng.next_u64()));
    let (told, ()) = join(join_all(callers), operator).await;
    let told: Vec<Told> = told.into_iter().flatten().collect();
    books::balance(&world, &told).await
}

/// The calls of one caller, one after the other, with pauses or without.
async fn calls(world: &World, rng: Rng) -> Vec<Told> {
    let patient = rng.below(2) == 0;
    let mut told = Vec::new();
    for _ in 0..1 + rng.below(CALLS) {
        if patient {
            sleep_until(after(now(), rng.jitter(Duration::from_secs(8)))).await;
        }
        told.push(Caller::new(world, &rng).call().await);
    }
    told
}

/// Changes what may be changed while calls run.
async fn operate(world: &World, rng: Rng) {
    if world.mood != Mood::Wild {
        return;
    }
    for _ in 0..rng.below(6) {
        sleep_until(after(now(), rng.jitter(Duration::from_secs(10)))).await;
        change(world, &rng);
    }
}

/// Some changes are refused, such as taking an endpoint away that is gone: that is an answer.
fn change(world: &World, rng: &Rng) {
    let client = &world.clients[0];
    let balancer = client.balancer();
    let endpoint = world.endpoint(rng.below(8) as usize, rng);
    let id = endpoint.id().clone();
    let number = rng.below(world.tenants);
    let tenant = TenantId::new(format!("t{number}"));
    match rng.below(8) {
        0 => drop(balancer.reweight(&id, 1 + rng.below(9) as u32)),
        1 => drop(balancer.replace(endpoint)),
        2 => drop(balancer.add(endpoint)),
        3 => drop(balancer.drain(&id)),
        4 => drop(balancer.remove(&id)),
        5 => drop(client.cache().map(|cache| cache.invalidate(Invalidate::Tenant(&tenant)))),
        change => {
            let limits = Limits::new().concurrency(1 + rng.below(3) as u32);
            world.relimited.set(world.relimited.get() | 1 << number);
            let quota = client.quota().unwrap();
            match change {
                6 => quota.clear_tenant_limits(&tenant),
                _ => quota.set_tenant_limits(&tenant, &limits).unwrap(),
            }
        }
    }
}
