//! Jobs that other gateways start and watch, too.

use super::*;

#[tokio::test]
async fn a_task_that_runs_elsewhere_by_its_turn_leaves_its_place_to_the_next() {
    let mut world = World::new(&[ONE_AT_A_TIME]);
    let told = world.launcher.told.clone();
    world.launcher = Arc::new(ScriptedLauncher {
        told,
        alive: Mutex::default(),
        fails: false,
        shared: true,
    });
    let dispatcher = world.dispatcher().await;
    let place = dispatcher.reserve(Owner::default(), false).unwrap();
    let a = world.store("a", 0).await;
    let taken_elsewhere = |record: &mut Record| {
        record.phase = Phase::Agent;
        record.status = Status::Running;
        record.execution_name = Some("scripted/a".to_owned());
        true
    };
    world.tasks.update(&a, taken_elsewhere).await.unwrap();
    world.launcher.add("scripted/a");
    dispatcher.submit(place, a.clone());
    let b = world.submit(&dispatcher, "b").await;
    assert_eq!(world.next().await, started("b"));
    assert_eq!(dispatcher.load().running, 1);
    let status = dispatcher.status(None).await.unwrap();
    assert_eq!((status.waiting, status.running), (0, 2));
    world.complete(&a).await;
    world.complete(&b).await;
    world.next().await;
    world.next().await;
    dispatcher.stop().await;
}
