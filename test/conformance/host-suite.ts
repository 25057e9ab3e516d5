import assert from 'node:assert/strict'
import { isKilovoltError, type KilovoltError } from '../../src/base/errors.ts'
import { decodeFrame, encodeFrame } from '../../src/codec/frame.ts'
import type { PeerId } from '../../src/model/node-id.ts'
import type { Host, Link } from '../../src/transport/host.ts'
import { TRAFFIC_CLASSES } from '../../src/transport/peer-links.ts'
import type { TrafficClass } from '../../src/transport/transport.ts'
import type { Lab } from '../support/lab.ts'

const never = new AbortController().signal

/** A frame with a number in it. */
function frameOf(number: number, length = 1): Uint8Array {
  return encodeFrame([{ type: 200, id: number, epoch: 0, body: new Uint8Array(length).fill(number) }])
}

function numberOf(frame: Uint8Array): number {
  return decodeFrame(frame)[0]!.id
}

function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/.*/u, '')
}

/** What a link has told. */
class Received {
  readonly numbers: number[] = []
  readonly reasons: string[] = []

  constructor(link: Link) {
    link.onFrame = frame => this.numbers.push(numberOf(frame))
    link.onClose = reason => this.reasons.push(reason)
  }
}

/** What every {@link Host} must do: to be called inside a `describe`. */
export function describeHost(createLab: () => Lab): void {
  let lab: Lab

  beforeEach(() => {
    lab = createLab()
  })

  afterEach(async () => {
    await lab.close()
  })

  async function start(count: number): Promise<Host[]> {
    const hosts: Host[] = []
    for (let i = 0; i < count; i++) {
      const { host } = await lab.host()
      await lab.settle(host.start())
      hosts.push(host)
    }
    return hosts
  }

  async function join(from: Host, to: Host, trafficClass: TrafficClass = 'data'): Promise<{ near: Link; far: Link }> {
    let far: Link | undefined
    const forget = to.on('link', link => {
      far = link
    })
    await lab.settle(from.connect(to.addresses[0]!, never))
    const near = await lab.settle(from.open(to.self, trafficClass, never))
    await lab.until(() => far !== undefined, 'the link to be accepted')
    forget()
    return { near, far: far! }
  }

  async function fails(promise: Promise<unknown>): Promise<KilovoltError> {
    try {
      await lab.settle(promise)
    } catch (error) {
      assert.ok(isKilovoltError(error), String(error))
      return error
    }
    throw new assert.AssertionError({ message: 'it did not fail' })
  }

  it('has no address before it starts, and then dialable ones with its id in them', async () => {
    const { host } = await lab.host()
    assert.equal(host.addresses.length, 0)
    await lab.settle(host.start())
    assert.ok(host.addresses.length > 0)
    for (const address of host.addresses) assert.ok(address.endsWith(`/p2p/${host.self}`), address)
  })

  it('says who answers at an address, and is then connected on both sides', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    assert.equal(a.isConnected(b.self), false)
    assert.equal(await lab.settle(a.connect(b.addresses[0]!, never)), b.self)
    assert.ok(a.isConnected(b.self))
    await lab.until(() => b.isConnected(a.self), 'the other side to be connected')
  })

  it('finds out who answers at an address that names nobody', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    assert.equal(await lab.settle(a.connect(withoutPeer(b.addresses[0]!), never)), b.self)
  })

  it('says that an address where nobody listens is unreachable', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const address = b.addresses[0]!
    await lab.settle(b.stop())
    const error = await fails(a.connect(address, never))
    assert.equal(error.code, 'KV_UNREACHABLE')
    assert.ok(error.message.includes(withoutPeer(address)), error.message)
    assert.equal(error.details['refused'], true, 'its machine answers')
  })

  it('does not take one peer for another', async () => {
    const [a, b, c] = (await start(3)) as [Host, Host, Host]
    const error = await fails(a.connect(`${withoutPeer(b.addresses[0]!)}/p2p/${c.self}`, never))
    assert.equal(error.code, 'KV_UNREACHABLE')
    assert.equal(a.isConnected(c.self), false)
  })

  it('leaves the connection to whoever else dials the same address at that moment', async () => {
    const [first, second, other] = await start(3)
    const place = withoutPeer(second!.addresses[0]!)
    const both = [first!.connect(`${place}/p2p/${other!.self}`, never), first!.connect(place, never)]
    const [wrong, right] = await lab.settle(Promise.allSettled(both))
    assert.equal(wrong!.status, 'rejected')
    assert.deepEqual(right, { status: 'fulfilled', value: second!.self })
    const link = await lab.settle(first!.open(second!.self, 'data', never))
    assert.equal(link.peer, second!.self)
    assert.ok(first!.isConnected(second!.self))
  })

  it('recognises its own address, with and without its id', async () => {
    const [a] = (await start(1)) as [Host]
    for (const address of [a.addresses[0]!, withoutPeer(a.addresses[0]!)]) {
      const error = await fails(a.connect(address, never))
      assert.equal(error.code, 'KV_HANDSHAKE')
      assert.equal(error.details['self'], true)
    }
  })

  it('gives up when its signal aborts', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const abort = new AbortController()
    abort.abort(new Error('no more'))
    const attempts = [() => a.connect(b.addresses[0]!, abort.signal), () => a.open(b.self, 'data', abort.signal)]
    for (const attempt of attempts) {
      const error = await fails(attempt())
      assert.equal(error.code, 'KV_ABORTED')
      assert.equal((error.cause as Error).message, 'no more')
    }
  })

  it('opens no link without a connection', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    assert.equal((await fails(a.open(b.self, 'data', never))).code, 'KV_UNREACHABLE')
  })

  it('opens links of each class, and tells both ends whom they lead to', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    for (const trafficClass of TRAFFIC_CLASSES) {
      const { near, far } = await join(a, b, trafficClass)
      assert.deepEqual([near.peer, near.class, far.peer, far.class], [b.self, trafficClass, a.self, trafficClass])
    }
  })

  it('delivers frames of all sizes, whole and in order, both ways', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const { near, far } = await join(a, b)
    const atNear = new Received(near)
    const atFar = new Received(far)
    const sizes = [0, 1, 100, 1000, 65_535, 65_536, 1_000_000, 3, 4_000_000, 7]
    const expected = sizes.map((_, i) => i + 1)
    sizes.forEach((size, i) => {
      near.send(frameOf(i + 1, size))
      far.send(frameOf(i + 1, size))
    })
    await lab.until(() => atNear.numbers.length === 10 && atFar.numbers.length === 10, 'the frames')
    assert.deepEqual(atNear.numbers, expected)
    assert.deepEqual(atFar.numbers, expected)
  })

  it('says when a link is congested, takes the frame all the same, and says when it has drained', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const { near, far } = await join(a, b)
    const atFar = new Received(far)
    let drained = 0
    near.onDrain = () => drained++
    let sent = 0
    while (near.send(frameOf(++sent, 1_000_000))) assert.ok(sent < 1000, 'never congested')
    await lab.until(() => drained > 0 && atFar.numbers.length === sent, 'the link to drain')
    assert.equal(near.bufferedBytes, 0)
    assert.deepEqual(
      atFar.numbers,
      Array.from({ length: sent }, (_, i) => i + 1)
    )
  })

  it('closes a link on both sides, once, and leaves the connection and other links alone', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const one = await join(a, b, 'data')
    const two = await join(a, b, 'bulk')
    const [near, far, other] = [new Received(one.near), new Received(one.far), new Received(two.far)]
    one.far.close('enough')
    one.far.close('enough')
    one.near.close('enough')
    await lab.until(() => near.reasons.length > 0 && far.reasons.length > 0, 'the link to close')
    two.near.send(frameOf(1))
    await lab.until(() => other.numbers.length === 1, 'a frame on the other link')
    assert.deepEqual([near.reasons.length, far.reasons.length, other.reasons.length], [1, 1, 0])
    assert.ok(a.isConnected(b.self))
  })

  it('delivers what was sent before a link was closed', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const { near, far } = await join(a, b)
    const atFar = new Received(far)
    for (let i = 1; i <= 5; i++) near.send(frameOf(i))
    near.close('done')
    await lab.until(() => atFar.reasons.length > 0, 'the link to close')
    assert.deepEqual(atFar.numbers, [1, 2, 3, 4, 5])
  })

  it('disconnects: both sides hear of it, and all links are closed', async () => {
    const [a, b] = (await start(2)) as [Host, Host]
    const { near, far } = await join(a, b)
    const [atNear, atFar] = [new Received(near), new Received(far)]
    const gone: PeerId[] = []
    for (const host of [a, b]) host.on('disconnected', ({ peer }) => gone.push(peer))
    a.disconnect(b.self, 'enough')
    await lab.until(() => gone.length === 2, 'both sides to be disconnected')
    await lab.until(() => atNear.reasons.length + atFar.reasons.length === 2, 'the links to close')
    assert.deepEqual(gone.sort(), [a.self, b.self].sort())
    assert.equal(a.isConnected(b.self) || b.isConnected(a.self), false)
    // And all over again.
    const again = await join(b, a)
    const received = new Received(again.far)
    again.near.send(frameOf(9))
    await lab.until(() => received.numbers.length === 1, 'a frame after connecting again')
  })

  it('spreads gossip to everybody else, across those in between', async () => {
    const [a, b, c] = (await start(3)) as [Host, Host, Host]
    const heard = new Map<Host, PeerId[]>([a, b, c].map(host => [host, []]))
    for (const [host, from] of heard) host.on('published', message => from.push(message.from))
    await lab.settle(a.connect(b.addresses[0]!, never))
    await lab.settle(b.connect(c.addresses[0]!, never))
    // Gossip is lost until the nodes have found each other.
    for (let i = 0; i < 100 && heard.get(c)!.length === 0; i++) {
      a.publish(Uint8Array.of(1, 2, i))
      await lab.pass(100)
    }
    assert.ok(heard.get(b)!.includes(a.self))
    assert.ok(heard.get(c)!.includes(a.self))
    assert.deepEqual(heard.get(a), [])
  })

  it('names the address when its port is in use, and does not disturb who uses it', async () => {
    const first = await lab.host()
    await lab.settle(first.host.start())
    const second = await lab.host(first)
    const error = await fails(second.host.start())
    assert.equal(error.code, 'KV_PORT_IN_USE')
    assert.ok(error.message.includes(withoutPeer(first.host.addresses[0]!)), error.message)
    assert.deepEqual(second.host.addresses, [])
    await lab.settle(second.host.stop())
    const [other] = (await start(1)) as [Host]
    assert.equal(await lab.settle(other.connect(first.host.addresses[0]!, never)), first.host.self)
  })

  it('stops before it has started, twice, and at once', async () => {
    const { host } = await lab.host()
    await lab.settle(host.stop())
    const [a, b] = (await start(2)) as [Host, Host]
    await join(a, b)
    let gone = false
    b.on('disconnected', () => {
      gone = true
    })
    await lab.settle(Promise.all([a.stop(), a.stop()]))
    await lab.settle(a.stop())
    assert.deepEqual(a.addresses, [])
    await lab.until(() => gone, 'the other side to hear of it')
    assert.equal((await fails(a.connect(b.addresses[0]!, never))).code, 'KV_UNREACHABLE')
  })
}
