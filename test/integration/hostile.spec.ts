import assert from 'node:assert/strict'
import { createConnection, type Socket } from 'node:net'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import type { Stream } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { utf8 } from '../../src/base/bytes.ts'
import { isKilovoltError, type KilovoltError } from '../../src/base/errors.ts'
import { encodeFrame, FRAME_BYTES_MAX } from '../../src/codec/frame.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { systemRandom } from '../../src/runtime/system-random.ts'
import { encodeHello, type Hello } from '../../src/transport/hello.ts'
import type { Libp2pHostOptions } from '../../src/transport/libp2p-host.ts'
import { Mesh } from '../../src/transport/mesh.ts'
import { MessageType } from '../../src/transport/message-type.ts'
import { createPeerKey, peerIdOfKey } from '../../src/transport/peer-key.ts'
import type { Outcome, TransportEvents } from '../../src/transport/transport.ts'
import { Libp2pLab } from '../support/libp2p-lab.ts'

const never = new AbortController().signal

interface Node {
  readonly mesh: Mesh
  readonly refusals: TransportEvents['link:refused'][]
}

describe('a cluster that is attacked', () => {
  let lab: Libp2pLab
  let meshes: Mesh[]
  let sockets: Socket[]
  let others: Libp2p[]

  beforeEach(() => {
    lab = new Libp2pLab()
    meshes = []
    sockets = []
    others = []
  })

  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    await Promise.all(meshes.map(mesh => mesh.stop()))
    await Promise.all(others.map(async other => other.stop()))
    await lab.close()
  })

  async function node(options: Partial<Libp2pHostOptions> = {}, says: Partial<Hello> = {}): Promise<Node> {
    const host = await lab.create(options)
    const storeId = String(meshes.length + 1).padStart(32, '0') as StoreId
    const mesh: Mesh = new Mesh({
      host,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      hello: () => ({
        version: 1,
        versionMin: 1,
        cluster: options.cluster ?? 'lab',
        clusterId: undefined,
        storeId,
        partitions: 256,
        addresses: host.addresses,
        weight: 1,
        zone: '',
        region: '',
        volatile: true,
        epoch: 0,
        wallMs: systemClock.wallMs(),
        ...says
      })
    })
    const refusals: TransportEvents['link:refused'][] = []
    mesh.on('link:refused', refusal => refusals.push(refusal))
    mesh.handle(MessageType.GET, ({ body }, respond) => respond.reply(body.slice()))
    meshes.push(mesh)
    await mesh.start()
    return { mesh, refusals }
  }

  async function pair(options: Partial<Libp2pHostOptions> = {}): Promise<[Node, Node]> {
    const [a, b] = [await node(options), await node(options)]
    await lab.settle(a.mesh.dial(b.mesh.addresses[0]!, never))
    await worksBetween(a, b)
    return [a, b]
  }

  async function worksBetween(a: Node, b: Node): Promise<void> {
    const request = { type: MessageType.GET, class: 'data', body: utf8('?'), timeoutMs: 5000 } as const
    const outcome = await new Promise<Outcome>(resolve => {
      a.mesh.request(b.mesh.self, request, resolve)
    })
    assert.equal(outcome.kind, 'reply')
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

  async function connectTo(target: Node): Promise<{ socket: Socket; isClosed: () => boolean }> {
    const port = Number(/\/tcp\/(\d+)/u.exec(target.mesh.addresses[0]!)![1])
    const socket = createConnection({ port, host: '127.0.0.1' })
    let closed = false
    socket.on('close', () => {
      closed = true
    })
    socket.on('error', () => {})
    socket.resume()
    sockets.push(socket)
    await new Promise<void>(resolve => {
      socket.once('connect', resolve)
    })
    return { socket, isClosed: () => closed }
  }

  /** A plain libp2p node, connected, which may do what it likes. */
  async function stranger(target: Node): Promise<Libp2p> {
    const libp2p = await createLibp2p({
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux({ streamOptions: { initialStreamWindowSize: 4 * 1024 * 1024 } })],
      services: { identify: identify() }
    })
    others.push(libp2p)
    await libp2p.dial(multiaddr(target.mesh.addresses[0]))
    return libp2p
  }

  async function openStream(
    from: Libp2p,
    to: Node,
    protocol: string
  ): Promise<{ stream: Stream; isClosed: () => boolean }> {
    const stream = await from.dialProtocol(multiaddr(to.mesh.addresses[0]), protocol)
    stream.addEventListener('message', () => {})
    return { stream, isClosed: () => stream.status !== 'open' }
  }

  it('hangs up on a socket that sends random bytes, says so, and goes on working', async () => {
    const [a, b] = await pair()
    const random = new SeededRandom('hostile')
    for (let round = 1; round <= 5; round++) {
      const { socket, isClosed } = await connectTo(b)
      socket.write(random.bytes(1 + random.int(5000)))
      // Whatever the bytes seem to announce, the rest of it never comes.
      await lab.until(() => isClosed(), 'the socket to be closed')
      await lab.until(() => b.refusals.length === round, 'word of it')
      const { peer, error } = b.refusals.at(-1)!
      assert.deepEqual([peer, error.code], [undefined, 'KV_HANDSHAKE'])
      assert.match(error.message, /127\.0\.0\.1/u)
    }
    await worksBetween(a, b)
  }).timeout(60_000)

  it('hangs up on sockets that say nothing', async () => {
    const [a, b] = await pair()
    const silent = await Promise.all(Array.from({ length: 50 }, () => connectTo(b)))
    await worksBetween(a, b)
    const late = await node()
    await lab.settle(late.mesh.dial(b.mesh.addresses[0]!, never))
    await lab.until(() => silent.every(({ isClosed }) => isClosed()), 'the sockets to be closed')
    await worksBetween(late, b)
  }).timeout(30_000)

  it('says which clusters two nodes belong to that share a network, on both sides', async () => {
    const [a, b] = await pair()
    const other = await node({ cluster: 'of/others' })
    const error = await fails(other.mesh.dial(b.mesh.addresses[0]!, never))
    await lab.until(() => b.refusals.length > 0 && other.refusals.length > 0, 'word of it')
    for (const one of [error, b.refusals[0]!.error, other.refusals[0]!.error]) {
      assert.equal(one.code, 'KV_HANDSHAKE')
      assert.ok(one.message.includes('"lab"') && one.message.includes('"of/others"'), one.message)
    }
    assert.equal(b.refusals[0]!.peer, other.mesh.self)
    await worksBetween(a, b)
  })

  it('says what may be wrong to whoever has another secret, or none', async () => {
    const [a, b] = await pair({ secret: 'correct horse' })
    for (const secret of ['battery staple', undefined]) {
      const before = b.refusals.length
      const wrong = await node({ secret })
      const error = await fails(wrong.mesh.dial(b.mesh.addresses[0]!, never))
      assert.equal(error.code, 'KV_UNREACHABLE')
      assert.match(error.message, /another secret/u)
      await lab.until(() => b.refusals.length > before, 'word of it')
      assert.match(b.refusals.at(-1)!.error.message, /another secret/u)
    }
    await worksBetween(a, b)
  }).timeout(30_000)

  it('turns away whoever is not on the list of peers, and whom a listed peer does not know', async () => {
    const keys = [await createPeerKey(), await createPeerKey()] as const
    const allow = keys.map(peerIdOfKey)
    const [a, b] = [await node({ peerKey: keys[0], allow }), await node({ peerKey: keys[1], allow })]
    await lab.settle(a.mesh.dial(b.mesh.addresses[0]!, never))
    const uninvited = await node()
    const error = await fails(uninvited.mesh.dial(b.mesh.addresses[0]!, never))
    assert.equal(error.code, 'KV_UNREACHABLE')
    await lab.until(() => b.refusals.length > 0, 'word of it')
    assert.deepEqual([b.refusals[0]!.peer, b.refusals[0]!.error.code], [uninvited.mesh.self, 'KV_HANDSHAKE'])
    assert.match(b.refusals[0]!.error.message, /list of peers/u)
    const outward = await fails(a.mesh.dial(uninvited.mesh.addresses[0]!, never))
    assert.match(outward.message, /list of peers/u)
    await worksBetween(a, b)
  })

  it('closes a stream that claims an oversize frame, and the connection after three', async () => {
    const [a, b] = await pair()
    const bad = await stranger(b)
    for (let i = 1; i <= 3; i++) {
      const { stream, isClosed } = await openStream(bad, b, '/kilovolt/lab/1/data')
      const header = new Uint8Array(8)
      new DataView(header.buffer).setUint32(0, FRAME_BYTES_MAX + 1)
      stream.send(header)
      await lab.until(() => isClosed(), 'the stream to be closed')
    }
    await lab.until(() => bad.getConnections().length === 0, 'the connection to be closed')
    assert.deepEqual(
      b.refusals.map(({ peer, error }) => [peer, error.code]),
      Array.from({ length: 3 }, () => [bad.peerId.toString(), 'KV_PROTOCOL'])
    )
    await worksBetween(a, b)
  })

  it('bears random bytes on its own protocols', async () => {
    const [a, b] = await pair()
    const random = new SeededRandom('streams')
    for (const trafficClass of ['control', 'data', 'bulk']) {
      const bad = await stranger(b)
      for (let i = 0; i < 3; i++) {
        const { stream, isClosed } = await openStream(bad, b, `/kilovolt/lab/1/${trafficClass}`)
        // A length within the limit, so that the checksum has to find it out.
        const bytes = random.bytes(500)
        new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, 492)
        stream.send(bytes)
        await lab.until(() => isClosed(), 'the stream to be closed')
      }
      await lab.until(() => bad.getConnections().length === 0, 'the connection to be closed')
    }
    assert.equal(b.refusals.length, 9)
    await worksBetween(a, b)
  })

  it('sends away whoever stays connected and opens no link', async () => {
    // A clock on which the quarter of a minute passes in a moment.
    const clock = { ...systemClock, after: (ms: number, fn: () => void) => systemClock.after(ms / 30, fn) }
    const [a, b] = await pair({ clock })
    const idle = await stranger(b)
    await lab.until(() => idle.getConnections().length === 0, 'the connection to be closed')
    assert.deepEqual([b.refusals.length, b.refusals[0]!.peer], [1, idle.peerId.toString()])
    await worksBetween(a, b)
  })

  it('holds nobody for such a one whose links have just ended, nor anybody while it stops itself', async () => {
    const looks: (() => void)[] = []
    const after = (ms: number, fn: () => void): { cancel(): void } => {
      if (ms < 10_000) return systemClock.after(ms, fn)
      looks.push(fn)
      return { cancel: () => void looks.splice(looks.indexOf(fn), 1) }
    }
    const a = await lab.create()
    const b = await lab.create({ clock: { ...systemClock, after } })
    const refused: unknown[] = []
    b.on('refused', ({ error }) => refused.push(error))
    const ended = new Promise<void>(resolve =>
      b.on('link', link => {
        link.onClose = () => resolve()
      })
    )
    await Promise.all([a.start(), b.start()])
    await a.connect(b.addresses[0]!, never)
    const link = await a.open(b.self, 'data', never)
    link.onClose = () => {}
    link.send(encodeFrame([{ type: MessageType.GET, id: 1, epoch: 0, body: utf8('?') }]))
    await new Promise(setImmediate)
    link.close('it leaves')
    await ended
    assert.equal(looks.length, 1)
    looks.shift()!()
    assert.deepEqual([refused, b.isConnected(a.self)], [[], true])
    const c = await lab.create()
    await c.start()
    await c.connect(b.addresses[0]!, never)
    await lab.until(() => looks.length === 1, 'the other to be connected')
    const stopping = b.stop()
    assert.equal(looks.length, 0)
    await stopping
  })

  it('limits the streams of one peer', async () => {
    const [a, b] = await pair()
    const bad = await stranger(b)
    const opened = await Promise.allSettled(
      Array.from({ length: 100 }, () => openStream(bad, b, '/kilovolt/lab/1/bulk'))
    )
    await lab.until(
      () => opened.filter(one => one.status === 'fulfilled' && !one.value.isClosed()).length <= 8,
      'the surplus to be closed'
    )
    await worksBetween(a, b)
  })
  /** What a node says that is set to another number of partitions. */
  function unfitHello(id: string): Uint8Array {
    const storeId = id.padStart(32, '0') as StoreId
    const names = { cluster: 'lab', clusterId: undefined, storeId, addresses: [], zone: '', region: '' }
    const numbers = { version: 1, versionMin: 1, partitions: 64, weight: 1, epoch: 0, wallMs: 0 }
    const body = encodeHello({ ...names, ...numbers, volatile: true })
    return encodeFrame([{ type: MessageType.HELLO, id: 1, epoch: 0, body }])
  }

  it('hangs up on whoever it has turned away on several links at once', async () => {
    const [a, b] = await pair()
    const bad = await stranger(b)
    // They expire in one turn, and the first to do so ends the connection of the others.
    for (let i = 0; i < 6; i++) (await openStream(bad, b, '/kilovolt/lab/1/control')).stream.send(unfitHello('77'))
    await lab.until(() => bad.getConnections().length === 0, 'the connection to be closed')
    assert.deepEqual([b.refusals.length, b.refusals[0]!.error.code], [6, 'KV_HANDSHAKE'])
    await worksBetween(a, b)
  })

  it('hangs up on whoever sends garbage while it is being told why it was turned away', async () => {
    const [a, b] = await pair()
    const bad = await stranger(b)
    const { stream } = await openStream(bad, b, '/kilovolt/lab/1/control')
    stream.send(unfitHello('77'))
    await lab.until(() => b.refusals.length > 0, 'the refusal')
    const { muxer } = bad.getConnections()[0] as unknown as { muxer: { send: (bytes: Uint8Array) => boolean } }
    muxer.send(new Uint8Array(12).fill(0xff))
    await lab.until(() => bad.getConnections().length === 0, 'the connection to be closed')
    await worksBetween(a, b)
  })

  it('goes on while crowds that do not fit come again, and some drop out in the middle', async () => {
    const [a, b] = await pair()
    const address = b.mesh.addresses[0]!
    const unfit: Node[] = []
    for (let i = 0; i < 3; i++) {
      unfit.push(await node({}, { partitions: 64 }), await node({}, { version: 9, versionMin: 9 }))
      unfit.push(await node({ cluster: 'others' }))
    }
    const deaf = await node({ secret: 'another secret' })
    const failing = fails(deaf.mesh.dial(address, new AbortController().signal))
    for (let round = 0; round < 3; round++) {
      const dials = unfit.map(({ mesh }) => fails(mesh.dial(address, new AbortController().signal)))
      const broken = await Promise.all(Array.from({ length: 4 }, () => stranger(b)))
      for (const [i, other] of broken.entries()) {
        const { stream } = await openStream(other, b, '/kilovolt/lab/1/control')
        // One says all, one half of it, one nothing; then each breaks off in its own way.
        const hello = unfitHello(`8${i}`)
        if (i % 3 < 2) stream.send(i % 3 === 0 ? hello : hello.subarray(0, 20))
        if (i % 2 === 0) other.getConnections()[0]!.abort(new Error('broken off'))
        else await other.stop()
      }
      const codes = (await Promise.all(dials)).map(({ code }) => code)
      // Whoever comes back at once may be hung up on for what it did before.
      if (round === 0) assert.deepEqual(new Set(codes), new Set(['KV_HANDSHAKE']))
    }
    assert.equal((await failing).code, 'KV_UNREACHABLE')
    await worksBetween(a, b)
  }).timeout(60_000)
})
