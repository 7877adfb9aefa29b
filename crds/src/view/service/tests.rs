use super::*;
use proptest::prelude::*;
use serde_json::json;

fn service(spec: &Value, annotations: &Value, ingress: &Value) -> core::Service {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations,
            "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:01:40Z",
            "managedFields": [{"manager": "kubectl", "time": "not a time"}]},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .unwrap();
    service.to_core(None).unwrap()
}

fn with_spec(spec: &Value) -> core::Service {
    service(spec, &json!({}), &json!([]))
}

fn with_annotations(annotations: &Value) -> core::Service {
    service(&json!({}), annotations, &json!([]))
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_whole_of_a_dual_stack_service() {
    let made = service(
        &json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:96::7"],
            "ipFamilyPolicy": "PreferDualStack", "externalIPs": ["192.0.2.1", "010.0.0.2", "x"],
            "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
        }),
        &json!({names::ADDRESS_POOL: "lan", names::ALLOCATED_FROM_POOL: "dmz", "other/one": "z"}),
        &json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"ip": "fd00::1"}]),
    );
    assert_eq!(
        made,
        core::Service {
            key: ServiceKey::new("shop", "web"),
            created: 100,
            labels: [("app".to_owned(), "web".to_owned())].into(),
            role: Role::Ours,
            families: vec![Family::V4, Family::V6],
            policy: FamilyPolicy::PreferDualStack,
            held: addresses(&["10.0.0.1", "fd00::1"]),
            held_is_broken: false,
            allocated_from: Some("dmz".into()),
            requested_pool: Some("lan".into()),
            requested: Requested::Nothing,
            sharing: None,
            granted_terms: None,
            marked: false,
            external_ips: addresses(&["192.0.2.1", "10.0.0.2"]).into_iter().collect(),
            local_traffic_only: true,
        }
    );
}

#[test]
fn the_role_follows_type_and_class() {
    let of = |spec: Value, flag: Option<&str>| {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
        }))
        .unwrap();
        service.to_core(flag).unwrap().role
    };
    let plain = json!({"type": "LoadBalancer"});
    let classy = json!({"type": "LoadBalancer", "loadBalancerClass": "a/b"});
    assert_eq!(of(plain.clone(), None), Role::Ours);
    assert_eq!(of(plain.clone(), Some("")), Role::Ours);
    assert_eq!(of(plain, Some("a/b")), Role::Foreign);
    assert_eq!(of(classy.clone(), None), Role::Foreign);
    assert_eq!(of(classy.clone(), Some("")), Role::Foreign);
    assert_eq!(of(classy.clone(), Some("a/b")), Role::Ours);
    assert_eq!(of(classy, Some("a/c")), Role::Foreign);
    for kind in [json!("NodePort"), json!("Novelty"), json!(null), json!(7)] {
        assert_eq!(of(json!({"type": kind}), None), Role::NotLoadBalanced);
    }
}

#[test]
fn families_come_from_the_cluster_addresses() {
    let of = |spec: Value| with_spec(&spec).families;
    assert_eq!(of(json!({"clusterIPs": ["fd00::1", "10.0.0.1"]})), [Family::V6, Family::V4]);
    assert_eq!(of(json!({"clusterIP": "10.0.0.1"})), [Family::V4]);
    assert_eq!(of(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["fd00::1"]})), [Family::V6]);
    assert_eq!(of(json!({"clusterIP": "None", "clusterIPs": ["None"]})), []);
    assert_eq!(of(json!({"clusterIP": "", "clusterIPs": null})), []);
}

#[test]
fn a_status_that_cannot_be_ours_is_broken() {
    let of = |ingress: Value| {
        let made = service(&json!({}), &json!({}), &ingress);
        (made.held, made.held_is_broken)
    };
    assert_eq!(
        of(json!([{"hostname": "lb.example.dev"}, {"ip": "10.0.0.1"}])),
        (addresses(&["10.0.0.1"]), false)
    );
    assert_eq!(of(json!([{"ip": "10.0.0.x"}, {"ip": "10.0.0.1"}])), (addresses(&["10.0.0.1"]), true));
    assert_eq!(
        of(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])),
        (addresses(&["10.0.0.1", "10.0.0.2"]), true)
    );
    assert!(of(json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "fd00::2"}])).1);
    for odd in [json!(null), json!("x"), json!([{"ip": null}, {"ip": 7}, 7])] {
        assert_eq!(of(odd), (vec![], false));
    }
}

#[test]
fn sharing_needs_a_key() {
    let of = |annotations: Value, policy: &str, selector: Value| {
        let ports = json!([{"port": 80}, {"port": 53, "protocol": "UDP"}]);
        let spec = json!({"externalTrafficPolicy": policy, "selector": selector, "ports": ports});
        service(&spec, &annotations, &json!([])).sharing
    };
    let key = json!({names::ALLOW_SHARED_IP: "k"});
    let pods = json!({"app": "web"});
    assert_eq!(of(json!({}), "Cluster", pods.clone()), None);
    assert_eq!(of(json!({names::ALLOW_SHARED_IP: " "}), "Cluster", pods.clone()), None);
    let made = of(json!({names::DEPRECATED_ALLOW_SHARED_IP: "k"}), "Cluster", pods.clone()).unwrap();
    let port = |protocol: &str, port| Port { protocol: protocol.into(), port };
    assert_eq!(made.ports, [port("TCP", 80), port("UDP", 53)].into());
    assert_eq!((made.key.as_str(), made.backends), ("k", Backends::Anywhere));
    let local = Backends::Local([("app".to_owned(), "web".to_owned())].into());
    assert_eq!(of(key.clone(), "Local", pods).unwrap().backends, local);
    assert_eq!(of(key, "Local", json!(null)).unwrap().backends, Backends::Unknown);
}

#[test]
fn ports_are_kept_only_where_they_are_read() {
    for (annotations, ports) in [(json!({}), 0), (json!({names::ALLOW_SHARED_IP: "k"}), 1)] {
        let mut service: Service = serde_json::from_value(json!({
            "metadata": {"annotations": annotations}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
        }))
        .unwrap();
        service.trim_unshared();
        assert_eq!((service.spec.ports.len(), service.spec.selector.len()), (ports, ports));
    }
}

#[test]
fn of_the_conditions_only_ours_are_kept() {
    let all = |conditions: Value| {
        let service: Service = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
        service.status.conditions
    };
    let of = |conditions: Value| all(conditions).assigned;
    let other = json!({"type": "x/Y", "status": "True"});
    let own = json!({"type": names::ADDRESS_ASSIGNED, "status": "False", "reason": "NoPool", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    assert_eq!(of(json!([other])), None);
    let found = of(json!([other, own])).unwrap();
    assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", "NoPool"));
    let conflict =
        json!({"type": names::ADDRESS_CONFLICT, "status": "True", "reason": "InUse", "message": "m"});
    let both = all(json!([conflict, other, own]));
    assert_eq!(both.assigned, Some(found));
    assert_eq!(both.conflict.unwrap().reason, "InUse");
    for odd in [json!(null), json!(7), json!([7, {"type": 7}])] {
        assert_eq!(all(odd), OwnConditions::default());
    }
}

#[test]
fn requested_addresses_keep_their_order() {
    for name in [names::LOAD_BALANCER_IPS, names::DEPRECATED_LOAD_BALANCER_IPS] {
        let made = with_annotations(&json!({name: " fd00::1 , 10.0.0.1 "}));
        assert_eq!(made.requested, Requested::Addresses(addresses(&["fd00::1", "10.0.0.1"])));
    }
    let made = with_spec(&json!({"loadBalancerIP": "10.0.0.1"}));
    assert_eq!(made.requested, Requested::Addresses(addresses(&["10.0.0.1"])));
    let made = with_annotations(&json!({
        names::LOAD_BALANCER_IPS: "10.0.0.1", names::DEPRECATED_LOAD_BALANCER_IPS: "rubbish",
        names::ADDRESS_POOL: "new", names::DEPRECATED_ADDRESS_POOL: "old",
    }));
    assert_eq!(made.requested, Requested::Addresses(addresses(&["10.0.0.1"])));
    assert_eq!(made.requested_pool.as_deref(), Some("new"));
    // A blank annotation asks for nothing, and still hides its old spelling.
    let made = with_annotations(&json!({
        names::LOAD_BALANCER_IPS: " ", names::DEPRECATED_LOAD_BALANCER_IPS: "10.0.0.1", names::DEPRECATED_ADDRESS_POOL: "old",
    }));
    assert_eq!(made.requested, Requested::Nothing);
    assert_eq!(made.requested_pool.as_deref(), Some("old"));
}

#[test]
fn a_request_that_cannot_be_met_says_what_to_change() {
    let of = |spec: Value, annotations: Value| match service(&spec, &annotations, &json!([])).requested {
        Requested::Unreadable(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        of(json!({"loadBalancerIP": "10.0.0.1"}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1"})),
        "addresses are asked for twice: remove spec.loadBalancerIP, which is deprecated, or the annotation \
         metallb.io/loadBalancerIPs"
    );
    assert_eq!(
        of(json!({}), json!({names::DEPRECATED_LOAD_BALANCER_IPS: "10.0.0.1, 10.0.0.300"})),
        "annotation metallb.universe.tf/loadBalancerIPs: \"10.0.0.300\" is not an IP address; write one \
         like 10.0.0.1 or fd00::1"
    );
    assert_eq!(
        of(json!({}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1,10.0.0.2"})),
        "annotation metallb.io/loadBalancerIPs: 10.0.0.1 and 10.0.0.2 are both IPv4; keep at most one \
         address of each family"
    );
    assert!(of(json!({}), json!({names::LOAD_BALANCER_IPS: "10.0.0.1,"})).contains("\"\" is not an IP"));
    assert!(of(json!({"loadBalancerIP": "x"}), json!({})).starts_with("spec.loadBalancerIP: \"x\""));
}

#[test]
fn only_our_annotations_are_kept() {
    let service: Service = serde_json::from_value(json!({"metadata": {"annotations": {
        names::ALLOCATED_FROM_POOL: "lan", "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "metallb.io/address-pool": 7,
    }}}))
    .unwrap();
    assert_eq!(service.allocated_from_pool(), Some("lan"));
    assert_eq!(service.metadata.annotations.as_ref().unwrap().len(), 1);
    assert_eq!(service.to_core(None), None, "it has no name");
}

/// Any JSON, some of it shaped like a Service.
fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9a-f:., -]{0,20}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("name".to_owned()),
        Just("namespace".to_owned()),
        Just("ip".to_owned()),
        Just("clusterIPs".to_owned()),
        Just("loadBalancer".to_owned()),
        Just("ingress".to_owned()),
        Just("annotations".to_owned()),
        Just("labels".to_owned()),
        Just("creationTimestamp".to_owned()),
        Just(names::LOAD_BALANCER_IPS.to_owned()),
        Just("externalIPs".to_owned()),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn one_odd_object_never_hides_a_list(
        metadata in json_values(), spec in json_values(), status in json_values(),
    ) {
        let list = json!([
            {"metadata": metadata, "spec": spec, "status": status},
            {"metadata": {"name": "a", "namespace": "b"}},
        ]);
        // Metadata that is no object at all is the one thing that cannot be read around.
        prop_assume!(list[0]["metadata"].is_object());
        let list: Vec<Service> = serde_json::from_value(list).unwrap();
        let _ = list[0].to_core(None);
        prop_assert!(list[1].to_core(None).is_some());
    }

    #[test]
    fn no_text_in_a_request_panics(list in ".{0,40}", one in ".{0,40}", address in "[0-9.:a-f, ]{0,40}") {
        for text in [&list, &address] {
            let _ = service(
                &json!({"loadBalancerIP": one, "clusterIP": text, "externalIPs": [text]}),
                &json!({names::LOAD_BALANCER_IPS: text}),
                &json!([{"ip": text}]),
            );
            let _ = with_annotations(&json!({names::LOAD_BALANCER_IPS: text}));
        }
    }
}
