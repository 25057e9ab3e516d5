import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { ClassicLevel } from 'classic-level'
import { createNode, isKilovoltError, type ErrorCode, type NodeOptions } from 'kilovolt'
import { freePort } from '../support/free-port.ts'
import { NodeLab, quiet } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

const lab = new NodeLab()

function code(expected: ErrorCode, pattern = /./u): (error: unknown) => boolean {
  return error => {
    assert.ok(isKilovoltError(error, expected), `${expected} expected, got ${String(error)}`)
    assert.match(error.message, pattern)
    return true
  }
}

afterEach(() => lab.clear())

describe('createNode', () => {
  it('names every wrong option in one error, and suggests the right name', async () => {
    const options = { clustr: 'a', replicas: 9, listen: ['localhost:80'], weight: 'x' } as unknown as NodeOptions
    await assert.rejects(
      createNode(options),
      code('KV_CONFIG', /clustr.*did you mean "cluster".*replicas.*listen.*weight/su)
    )
  })

  it('says which address is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const listen = [`/ip4/127.0.0.1/tcp/${port}`]
    await assert.rejects(createNode({ listen, logger: quiet }), code('KV_PORT_IN_USE', new RegExp(String(port), 'u')))
    server.close()
  })

  it('refuses a multiaddr that only looks like one', async () => {
    await assert.rejects(createNode({ listen: ['/ip4/999.0.0.1/tcp/x'], logger: quiet }), code('KV_CONFIG'))
  })

  it('refuses a store that is open elsewhere, and leaves it usable for its owner', async () => {
    const folder = lab.folder()
    const owner = await lab.start({ storage: new ClassicLevel(folder) })
    await assert.rejects(createNode({ storage: new ClassicLevel(folder), logger: quiet }), code('KV_STORAGE_IN_USE'))
    await owner.put('still', 'works')
    assert.equal(await owner.get('still'), 'works')
  })

  it('names each bootstrap entry that did not answer', async () => {
    const bootstrap = ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2']
    await assert.rejects(
      createNode({ bootstrap, joinTimeoutMs: 1000, logger: quiet }),
      code('KV_BOOTSTRAP_UNREACHABLE', /tcp\/1.*tcp\/2/su)
    )
  })

  it('turns away a node of another cluster or set otherwise, telling both values, and long before its time is up', async () => {
    const shop = await lab.start({ cluster: 'shop' })
    const bootstrap = shop.addresses
    const cases = [
      { options: { cluster: 'bank' }, pattern: /refuses this node.*"bank".*"shop"/su },
      { options: { cluster: 'shop', partitions: 64 }, pattern: /refuses this node.*64 partitions.*256/su }
    ]
    for (const { options, pattern } of cases) {
      const startMs = performance.now()
      const error: unknown = await createNode({ ...options, bootstrap, joinTimeoutMs: 15_000, logger: quiet }).catch(
        one => one
      )
      assert.ok(code('KV_HANDSHAKE', pattern)(error) && isKilovoltError(error))
      assert.equal(error.retryable, false)
      assert.ok(performance.now() - startMs < 10_000, 'it waited for too long')
      assert.doesNotMatch(error.message, /no bootstrap entry answered/u)
      assert.deepEqual(Object.keys(error.details['errors'] as object), bootstrap)
    }
    await shop.put('a', 1)
    assert.equal(await shop.get('a'), 1)
  }).timeout(40_000)

  it('waits for an entry that may still answer, and says at the end who refused and who was not there', async () => {
    const shop = await lab.start({ cluster: 'shop' })
    const bootstrap = [...shop.addresses, '/ip4/127.0.0.1/tcp/1']
    const startMs = performance.now()
    const failing = createNode({ cluster: 'bank', bootstrap, joinTimeoutMs: 5000, logger: quiet })
    const error: unknown = await failing.catch(one => one)
    assert.ok(
      code('KV_HANDSHAKE', /refuses this node.*"shop".*not reached.*tcp\/1:/su)(error) && isKilovoltError(error)
    )
    assert.equal(error.retryable, true)
    assert.ok(performance.now() - startMs >= 4900, 'it gave up too soon')
  }).timeout(30_000)

  it('joins when whoever refused it has made room for somebody who fits', async () => {
    const address = `/ip4/127.0.0.1/tcp/${await freePort()}`
    const old = await lab.start({ cluster: 'old', listen: [address] })
    // One more, at which nobody listens yet: however long the change takes, it is waited for.
    const bootstrap = [address, `/ip4/127.0.0.1/tcp/${await freePort()}`]
    const joining = lab.start({ cluster: 'new', bootstrap, joinTimeoutMs: 20_000 })
    await once(old, 'link:refused')
    await old.stop()
    await lab.start({ cluster: 'new', listen: [address] })
    assert.equal((await joining).members().length, 2)
  }).timeout(30_000)

  it('turns away a node with another secret, which is told so for each address', async () => {
    const shop = await lab.start({ secret: 'the right secret' })
    const failing = createNode({
      secret: 'the wrong secret',
      bootstrap: shop.addresses,
      joinTimeoutMs: 7000,
      logger: quiet
    })
    await assert.rejects(failing, code('KV_HANDSHAKE', /tcp\/\d+\/p2p\/\w+: .*another secret/su))
    const friend = await lab.start({ secret: 'the right secret', bootstrap: shop.addresses })
    await friend.put('a', 1)
    assert.equal(await shop.get('a'), 1)
  }).timeout(30_000)

  it('gives up when its signal aborts, and leaves nothing behind', async () => {
    const signal = AbortSignal.timeout(300)
    await assert.rejects(createNode({ bootstrap: ['/ip4/127.0.0.1/tcp/1'], signal, logger: quiet }), code('KV_ABORTED'))
  })
})

describe('a node', () => {
  it('is the default keyspace: values go in and out, a missing key is undefined', async () => {
    const node = await lab.start()
    assert.equal(await node.get('nothing'), undefined)
    await node.put('a', { deep: [1, null, 'x'] })
    assert.deepEqual(await node.get('a'), { deep: [1, null, 'x'] })
    assert.equal(await node.has('a'), true)
    assert.equal(await node.delete('a'), true)
    assert.equal(await node.delete('a'), false)
    assert.equal(await node.get('a'), undefined)
    await node.put('', 'the empty key is a key')
    assert.equal(await node.get(''), 'the empty key is a key')
  })

  it('gives versions that grow', async () => {
    const node = await lab.start()
    await node.put('a', 1)
    const one = await node.getEntry('a')
    await node.put('a', 2)
    const two = await node.getEntry('a')
    assert.equal(one?.value, 1)
    assert.ok(one.version < two!.version)
    assert.equal(await node.getEntry('b'), undefined)
  })

  it('runs batches and reads many, and the last operation on a key counts', async () => {
    const node = await lab.start()
    await node.batch([
      { type: 'put', key: 'a', value: 1 },
      { type: 'put', key: 'b', value: 2 },
      { type: 'put', key: 'a', value: 3 },
      { type: 'del', key: 'c' }
    ])
    assert.deepEqual(await node.getMany(['b', 'a', 'c']), [2, 3, undefined])
  })

  it('keeps keyspaces apart, and copies bytes at the door', async () => {
    const node = await lab.start()
    const raw = node.keyspace<Uint8Array>('raw', { valueEncoding: 'view' })
    const value = new Uint8Array([1, 2, 3])
    const write = raw.put('a', value)
    value.fill(9)
    await write
    const read = await raw.get('a')
    assert.deepEqual(read, new Uint8Array([1, 2, 3]))
    read?.fill(7)
    assert.deepEqual(await raw.get('a'), new Uint8Array([1, 2, 3]))
    assert.equal(await node.get('a'), undefined)
  })

  it('refuses keys and values beyond the limits, and wrong calls', async () => {
    const node = await lab.start()
    await assert.rejects(node.put('k'.repeat(1025), 1), code('KV_KEY_TOO_LARGE', /1025.*1024/u))
    const raw = node.keyspace<Uint8Array>('raw', { valueEncoding: 'view' })
    await assert.rejects(raw.put('v', new Uint8Array(8 * 1024 * 1024 + 1)), code('KV_VALUE_TOO_LARGE', /8388609/u))
    await raw.put('v', new Uint8Array(8 * 1024 * 1024))
    assert.equal((await raw.get('v'))?.length, 8 * 1024 * 1024)
    await assert.rejects(node.put(1 as unknown as string, 1), TypeError)
    await assert.rejects(node.put('a', undefined), TypeError)
    await assert.rejects(node.get('a', { consistency: 'most' as 'one' }), code('KV_CONFIG', /most/u))
    await assert.rejects(node.get('a', { ttl: 5 } as object), code('KV_CONFIG', /ttl/u))
    assert.throws(() => node.keyspace('x', { replicas: 3 } as object), code('KV_CONFIG', /replicas/u))
    assert.throws(() => node.keyspace('x', { conflicts: 'oldest' } as object), code('KV_CONFIG', /oldest/u))
  })

  it('tells what could not be decoded', async () => {
    const node = await lab.start()
    await node.keyspace<string>('a', { valueEncoding: 'utf8' }).put('k', 'not json')
    await assert.rejects(node.keyspace('a').get('k'), code('KV_ENCODING', /json/u))
  })

  it('reports each key of a batch that cannot be stored, and sends nothing', async () => {
    const node = await lab.start()
    await assert.rejects(
      node.batch([
        { type: 'put', key: 'k'.repeat(2000), value: 1 },
        { type: 'put', key: 'ok', value: 1 }
      ]),
      code('KV_BATCH_FAILED', /1 of 2/u)
    )
    assert.equal(await node.get('ok'), undefined, 'nothing was sent')
  })

  it('rejects with the reason when a signal is already aborted', async () => {
    const node = await lab.start()
    await assert.rejects(node.get('a', { signal: AbortSignal.abort('enough') }), code('KV_ABORTED'))
  })

  it('stops once, however often it is asked, and rejects afterwards', async () => {
    const node = await lab.start()
    await Promise.all([node.stop(), node.stop(), node[Symbol.asyncDispose]()])
    await assert.rejects(node.get('a'), code('KV_NODE_STOPPED'))
    await assert.rejects(node.settled(), code('KV_NODE_STOPPED'))
  })

  it('tells its status as plain data', async () => {
    const node = await lab.start()
    await node.put('a', 1)
    const status = node.status()
    assert.equal(status.health, 'ok')
    assert.equal(status.phase, 'member')
    assert.equal(status.partitions.owned, 256)
    assert.deepEqual(node.safeToStop().reasons, ['it has the only copy of 256 partitions'])
    assert.ok(status.operations.writes >= 1)
    assert.doesNotThrow(() => structuredClone(status))
  })
})

describe('three nodes', () => {
  it('see each other, share the ring, and read each other’s writes', async () => {
    const first = await lab.start()
    const others = await Promise.all([1, 2].map(() => lab.start({ bootstrap: first.addresses })))
    const all = [first, ...others]
    await Promise.all(all.map(node => node.settled({ timeoutMs: 20_000 })))
    for (const node of all) {
      assert.equal(node.members().filter(({ status }) => status === 'alive').length, 3)
      assert.deepEqual(node.ring.owners('a').toSorted(), all.map(({ id }) => id).toSorted())
    }
    for (const node of all) assert.deepEqual(node.safeToStop(), { safe: true, reasons: [] })
    await first.put('a', 'from the first', { consistency: 'all' })
    for (const node of all) assert.equal(await node.get('a', { consistency: 'one' }), 'from the first')
  }).timeout(40_000)

  it('fail early, with each copy’s answer, when a key’s quorum is out of reach', async () => {
    const first = await lab.start({ requestTimeoutMs: 20_000 })
    const others = await Promise.all([1, 2].map(() => lab.start({ bootstrap: first.addresses })))
    await first.settled({ timeoutMs: 20_000 })
    await first.put('a', 1)
    await Promise.all(others.map(node => node.stop()))
    await until('the others are gone', 10_000, () =>
      first.members().every(({ self, status }) => self || status !== 'alive')
    )
    const before = performance.now()
    await assert.rejects(first.get('a'), error => {
      assert.ok(isKilovoltError(error, 'KV_QUORUM_NOT_REACHED'), String(error))
      assert.equal((error.details['answers'] as unknown[]).length, 3)
      return true
    })
    assert.ok(performance.now() - before < 10_000, 'well before the deadline of 20 s')
    assert.equal(await first.get('a', { consistency: 'one' }), 1)
  }).timeout(60_000)

  it('hand everything over when one leaves', async () => {
    const first = await lab.start({ replicas: 2 })
    const others = await Promise.all([1, 2].map(() => lab.start({ bootstrap: first.addresses })))
    await first.settled({ timeoutMs: 20_000 })
    await first.batch(Array.from({ length: 300 }, (_, i) => ({ type: 'put', key: `k${i}`, value: i })))
    const { partitions, durationMs } = await others[0]!.leave({ timeoutMs: 20_000 })
    assert.ok(partitions > 100 && durationMs > 0, `${partitions} partitions in ${durationMs} ms`)
    const values = await others[1]!.getMany(Array.from({ length: 300 }, (_, i) => `k${i}`))
    assert.deepEqual(
      values,
      Array.from({ length: 300 }, (_, i) => i)
    )
    await until('it is gone from the ring', 10_000, () => first.ring.shares().length === 2)
  }).timeout(60_000)
})
