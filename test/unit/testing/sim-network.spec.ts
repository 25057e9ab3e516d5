import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import type { Link } from '../../../src/transport/host.ts'
import type { NetworkOptions } from '../../../src/testing/conditions.ts'
import type { SimHost } from '../../../src/testing/sim-host.ts'
import { SimNetwork } from '../../../src/testing/sim-network.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const never = new AbortController().signal

async function setUp(count: number, options: NetworkOptions = {}, seed = 1) {
  const world = new SimWorld({ seed })
  const network = new SimNetwork(world, options)
  const hosts: SimHost[] = []
  for (let i = 0; i < count; i++) {
    const clock = world.clock(`n${i}`)
    const host = network.host({ clock, self: `peer${i}` as PeerId, address: `/ip4/10.0.0.${i}/tcp/7400`, topic: 't' })
    await host.start()
    hosts.push(host)
  }
  return { world, network, hosts }
}

async function link(world: SimWorld, from: SimHost, to: SimHost): Promise<{ near: Link; far: Link }> {
  let far: Link | undefined
  to.on('link', accepted => {
    far = accepted
  })
  await world.settle(from.connect(to.address, never))
  const near = await world.settle(from.open(to.self, 'data', never))
  return { near, far: far! }
}

function receive(of: Link): string[] {
  const frames: string[] = []
  of.onFrame = frame => frames.push(fromUtf8(frame))
  of.onClose = () => frames.push('closed')
  return frames
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

describe('the simulated network', () => {
  it('delivers frames once and in order after some delay', async () => {
    const { world, hosts } = await setUp(2, { delayMinMs: 1, delayMeanMs: 5 })
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const got = receive(far)
    for (const text of numbers(100)) near.send(utf8(text))
    assert.deepEqual(got, [])
    await world.advance(200)
    assert.deepEqual(got, numbers(100))
    assert.equal(near.bufferedBytes, 0)
  })

  it('copies frames', async () => {
    const { world, hosts } = await setUp(2)
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const got = receive(far)
    const frame = utf8('hello')
    near.send(frame)
    frame.fill(0)
    await world.advance(50)
    assert.deepEqual(got, ['hello'])
  })

  it('loses, doubles and reorders frames when told to', async () => {
    const { world, network, hosts } = await setUp(2)
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const got = receive(far)
    network.conditions.set({ lossPer10k: 1000, duplicatePer10k: 1000, reorderPer10k: 1000 })
    for (const text of numbers(1000)) near.send(utf8(text))
    await world.advance(200)
    const distinct = new Set(got)
    assert.ok(distinct.size < 960 && distinct.size > 850, `${distinct.size} of 1000 came`)
    assert.ok(got.length > distinct.size + 50, 'some came twice')
    assert.ok(
      got.some((text, i) => i > 0 && Number(text) < Number(got[i - 1]!)),
      'some fell behind'
    )
  })

  it('holds frames up while their way is blocked, and sends them on in order', async () => {
    const { world, network, hosts } = await setUp(2)
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const [there, back] = [receive(far), receive(near)]
    network.conditions.block('n0', 'n1')
    for (const text of numbers(10)) near.send(utf8(text))
    far.send(utf8('back'))
    await world.advance(1000)
    assert.deepEqual([there, back], [[], ['back']])
    assert.ok(near.bufferedBytes > 0)
    network.heal()
    near.send(utf8('10'))
    await world.advance(1000)
    assert.deepEqual(there, numbers(11))
    assert.equal(near.bufferedBytes, 0)
  })

  it('breaks a connection that lets nothing through for long, and refuses new ones until it is healed', async () => {
    const { world, network, hosts } = await setUp(2, { breakAfterMs: 3000 })
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const [there, back] = [receive(far), receive(near)]
    const reports: string[] = []
    for (const host of hosts) host.on('disconnected', ({ peer }) => reports.push(`${host.self} lost ${peer}`))
    network.split([['n0'], ['n1']])
    near.send(utf8('lost'))
    await world.advance(3500)
    assert.deepEqual([there, back], [['closed'], ['closed']])
    assert.deepEqual(reports.toSorted(), ['peer0 lost peer1', 'peer1 lost peer0'])
    assert.equal(hosts[0]!.isConnected(hosts[1]!.self), false)
    const dial = hosts[0]!.connect(hosts[1]!.address, never)
    await assert.rejects(world.settle(dial), { code: 'KV_UNREACHABLE' })
    network.heal()
    assert.equal(await world.settle(hosts[0]!.connect(hosts[1]!.address, never)), hosts[1]!.self)
  })

  it('tells the sender when the link is congested and when it is free again', async () => {
    const { world, hosts } = await setUp(2, { bytesPerMs: 1000 })
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    let received = 0
    far.onFrame = frame => (received += frame.length)
    let drained = 0
    near.onDrain = () => drained++
    assert.equal(near.send(new Uint8Array(100_000)), true)
    assert.equal(near.send(new Uint8Array(400_000)), false)
    assert.equal(near.bufferedBytes, 500_000)
    await world.advance(490)
    assert.equal(drained, 0)
    await world.advance(20)
    assert.equal(drained, 1)
    assert.equal(received, 500_000)
  })

  it('slows a clogged way down', async () => {
    const { world, network, hosts } = await setUp(2)
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const got = receive(far)
    network.conditions.clog('n0', 'n1', world.nowUs + 500_000)
    near.send(utf8('late'))
    await world.advance(450)
    assert.deepEqual(got, [])
    await world.advance(100)
    assert.deepEqual(got, ['late'])
  })

  it('closes links on both sides, after what was sent before', async () => {
    const { world, hosts } = await setUp(2)
    const { near, far } = await link(world, hosts[0]!, hosts[1]!)
    const [there, back] = [receive(far), receive(near)]
    near.send(utf8('last words'))
    near.close('done')
    near.close('again')
    assert.equal(near.send(utf8('too late')), false)
    await world.advance(100)
    assert.deepEqual([there, back], [['last words', 'closed'], ['closed']])
    assert.equal(hosts[0]!.isConnected(hosts[1]!.self), true)
  })

  it('lets others know when a process dies at once, and of a dead machine after a while', async () => {
    for (const silent of [false, true]) {
      const { world, network, hosts } = await setUp(2, { breakAfterMs: 2000 })
      const { far } = await link(world, hosts[0]!, hosts[1]!)
      const there = receive(far)
      hosts[0]!.clock.kill()
      network.crash(hosts[0]!, { silent })
      await world.advance(100)
      assert.deepEqual(there, silent ? [] : ['closed'])
      await world.advance(2500)
      assert.deepEqual(there, ['closed'])
      await assert.rejects(world.settle(hosts[1]!.connect(hosts[0]!.address, never)), { code: 'KV_UNREACHABLE' })
    }
  })

  it('refuses wrong peers, oneself, strange addresses, and an address in use', async () => {
    const { world, network, hosts } = await setUp(2)
    const [a, b] = [hosts[0]!, hosts[1]!]
    const dial = (address: string): Promise<PeerId> => world.settle(a.connect(address, never))
    await assert.rejects(dial(b.address.replace('peer1', 'peer7')), { code: 'KV_UNREACHABLE' })
    await assert.rejects(dial('/ip4/10.0.0.99/tcp/1'), { code: 'KV_UNREACHABLE' })
    await assert.rejects(dial(a.address), { code: 'KV_HANDSHAKE', details: { self: true } })
    await assert.rejects(a.open(b.self, 'data', never), { code: 'KV_UNREACHABLE' })
    const twin = network.host({
      clock: world.clock('n9'),
      self: 'x' as PeerId,
      address: '/ip4/10.0.0.1/tcp/7400',
      topic: 't'
    })
    await assert.rejects(twin.start(), { code: 'KV_PORT_IN_USE' })
  })

  it('gives up a dial when its signal aborts', async () => {
    const { world, hosts } = await setUp(2)
    const controller = new AbortController()
    const dial = hosts[0]!.connect(hosts[1]!.address, controller.signal)
    controller.abort()
    await assert.rejects(dial, { code: 'KV_ABORTED' })
    await world.advance(100)
    assert.equal(hosts[0]!.isConnected(hosts[1]!.self), false)
    assert.equal(hosts[1]!.isConnected(hosts[0]!.self), false)
  })

  it('has one connection when two hosts dial each other at once', async () => {
    const { world, hosts } = await setUp(2)
    const [a, b] = [hosts[0]!, hosts[1]!]
    await world.settle(Promise.all([a.connect(b.address, never), b.connect(a.address, never)]))
    assert.equal(a.connections.get(b.self), b.connections.get(a.self))
  })

  it('carries gossip to everybody who is connected, through others, and not across a split', async () => {
    const { world, network, hosts } = await setUp(4)
    const heard = hosts.map(() => [] as string[])
    hosts.forEach((host, i) => host.on('published', ({ from, body }) => heard[i]!.push(`${from}: ${fromUtf8(body)}`)))
    for (let i = 0; i < 3; i++) await world.settle(hosts[i]!.connect(hosts[i + 1]!.address, never))
    await world.advance(1000)
    const metered: string[] = []
    network.tapGossip((from, body) => metered.push(`${from}: ${fromUtf8(body)}`))
    hosts[0]!.publish(utf8('one'))
    await world.advance(100)
    assert.deepEqual(heard, [[], ['peer0: one'], ['peer0: one'], ['peer0: one']])
    network.split([
      ['n0', 'n1'],
      ['n2', 'n3']
    ])
    hosts[0]!.publish(utf8('two'))
    await world.advance(100)
    assert.deepEqual(heard[1], ['peer0: one', 'peer0: two'])
    assert.deepEqual(heard[2], ['peer0: one'])
    assert.deepEqual(metered, ['n0: one', 'n0: two'], 'a meter sees each once, whoever hears it')
  })

  it('is the same for the same seed', async () => {
    const run = async (seed: number): Promise<string> => {
      const { world, hosts } = await setUp(2, { lossPer10k: 500, delayMeanMs: 20 }, seed)
      const { near, far } = await link(world, hosts[0]!, hosts[1]!)
      far.onFrame = frame => far.send(frame)
      for (const text of numbers(200)) near.send(utf8(text))
      await world.advance(1000)
      return world.trace.hash
    }
    assert.equal(await run(3), await run(3))
    assert.notEqual(await run(3), await run(4))
  })
})
