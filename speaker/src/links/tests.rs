use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An interface that can be announced on.
fn message() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = UP | LinkFlags::Broadcast | LinkFlags::Multicast;
    message.attributes = vec![
        LinkAttribute::IfName("lan".into()),
        LinkAttribute::Address(MAC.into()),
        LinkAttribute::CarrierUpCount(3),
    ];
    message
}

fn excluded() -> Excluded {
    DEFAULT_EXCLUDED.parse().unwrap()
}

#[test]
fn a_usable_link_is_read() {
    let link = Link {
        name: "lan".into(),
        mac: Mac(MAC),
        ups: 3,
        ipv6: false,
        addresses: [].into(),
        networks: [].into(),
    };
    assert_eq!(usable(&message(), &excluded(), &BTreeMap::new()), Some((LinkIndex(7), link)));
}

#[test]
fn a_link_has_ipv6_once_it_has_a_link_local_address() {
    let address = |index, text: &str| {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Address(text.parse().unwrap())];
        message
    };
    for (of_it, ipv6) in [("fe80::1", true), ("fd00::1", false), ("10.0.0.1", false)] {
        let found = by_link(&[address(7, of_it), address(8, "fe80::2")]);
        assert_eq!(usable(&message(), &excluded(), &found).unwrap().1.ipv6, ipv6, "{of_it}");
    }
}

#[test]
fn of_a_links_addresses_those_are_told_first_by_which_its_kernel_is_reached() {
    let address = |text: &str| {
        let mut message = AddressMessage::default();
        message.header.index = 7;
        message.attributes = vec![AddressAttribute::Address(text.parse().unwrap())];
        message
    };
    let all = ["fd00::2", "10.0.0.2", "fe80::1", "10.0.0.1", "fd00::1", "10.0.0.1"].map(address);
    let words: Vec<String> = by_link(&all)[&7].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["10.0.0.1", "fe80::1", "10.0.0.2", "fd00::1"]);
}

#[test]
fn the_networks_of_a_link_are_those_of_all_its_addresses() {
    let address = |(text, length): (&str, u8)| {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.prefix_len) = (7, length);
        message.attributes = vec![AddressAttribute::Address(text.parse().unwrap())];
        message
    };
    let all = [("10.0.1.2", 23), ("10.0.0.3", 23), ("10.9.9.9", 32), ("fd00::7", 64), ("fd00::8", 128)]
        .map(address);
    let found = by_link(&all);
    let (_, link) = usable(&message(), &excluded(), &found).unwrap();
    assert_eq!(*link.networks, ["10.0.0.0/23", "fd00::/64"].map(|network| network.parse().unwrap()));
    for (address, reached) in
        [("10.0.1.200", true), ("10.0.2.1", false), ("10.9.9.9", false), ("fd00::9", true)]
    {
        assert_eq!(link.reaches(address.parse().unwrap()), reached, "{address}");
    }
}

#[test]
fn arp_8_each_thing_that_makes_a_link_unusable() {
    type Break = fn(&mut LinkMessage);
    let breaks: [(&str, Break); 11] = [
        ("down", |m| m.header.flags.remove(LinkFlags::Up)),
        ("no carrier", |m| m.header.flags.remove(LinkFlags::LowerUp)),
        ("not running yet", |m| m.header.flags.remove(LinkFlags::Running)),
        ("no broadcast", |m| m.header.flags.remove(LinkFlags::Broadcast)),
        ("no ARP", |m| m.header.flags.insert(LinkFlags::Noarp)),
        ("not Ethernet", |m| m.header.link_layer_type = LinkLayerType::Ppp),
        ("in a bridge", |m| m.attributes.push(LinkAttribute::Controller(2))),
        ("excluded", |m| m.attributes[0] = LinkAttribute::IfName("veth0".into())),
        ("nameless", |m| drop(m.attributes.remove(0))),
        ("without a MAC", |m| drop(m.attributes.remove(1))),
        ("with an odd MAC", |m| m.attributes[1] = LinkAttribute::Address(vec![0; 6])),
    ];
    for (what, break_it) in breaks {
        let mut message = message();
        break_it(&mut message);
        assert_eq!(usable(&message, &excluded(), &BTreeMap::new()), None, "{what}");
    }
}

#[test]
fn a_link_that_was_reported_gone_counts_as_come_up_again() {
    let mut downs = Downs::default();
    let event =
        |message: &LinkMessage| NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message.clone()));
    let ups = |downs: &Downs| {
        let (index, link) = usable(&message(), &excluded(), &BTreeMap::new()).unwrap();
        downs.add_to(index, link).ups
    };
    downs.count(&event(&message()), &excluded());
    assert_eq!(ups(&downs), 3, "an event about a usable link says nothing");
    let mut down = message();
    down.header.flags.remove(LinkFlags::Up);
    downs.count(&event(&down), &excluded());
    assert_eq!(ups(&downs), 4);
    downs.count(&NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message())), &excluded());
    assert_eq!(ups(&downs), 5);
    // Interfaces of containers are not remembered.
    down.attributes[0] = LinkAttribute::IfName("veth0".into());
    down.header.index = 8;
    downs.count(&event(&down), &excluded());
    assert_eq!(downs.0.len(), 1);
}

/// Says when it is dropped whether the token was cancelled by then, as the end of an answer would.
struct Connection {
    panics: bool,
    broken: CancellationToken,
    seen: std::sync::mpsc::Sender<bool>,
}

impl Future for Connection {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        assert!(!self.panics, "as asked");
        std::task::Poll::Ready(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.seen.send(self.broken.is_cancelled()).unwrap();
    }
}

#[test]
fn a_connection_that_ends_is_known_as_broken_before_its_answers_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for panics in [false, true] {
        let (seen, dropped) = std::sync::mpsc::channel();
        let broken = CancellationToken::new();
        let connection = Connection { panics, broken: broken.clone(), seen };
        let ended = runtime.block_on(async { tokio::spawn(drive(connection, broken)).await });
        assert_eq!((ended.is_err(), dropped.recv()), (panics, Ok(true)));
    }
}
