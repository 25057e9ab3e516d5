import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import { isKilovoltError, type Node } from 'kilovolt'
import { NodeLab } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

const KEYS = Array.from({ length: 50 }, (_, i) => `k${i}`)

type Change = (value: Uint8Array) => void

const flipLastBit: Change = value => {
  value[value.length - 1]! ^= 1
}

describe('records that rot on a disk', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  /** The stored values of some keys, behind the node's back; they may be changed. */
  async function stored(path: string, keys: readonly string[], change?: Change): Promise<Map<string, string>> {
    const database = new ClassicLevel<Uint8Array, Uint8Array>(path, { keyEncoding: 'view', valueEncoding: 'view' })
    const found = new Map<string, string>()
    for await (const [at, value] of database.iterator({ gte: Uint8Array.of(0x10), lt: Uint8Array.of(0x11) })) {
      const key = Buffer.from(at.subarray(4)).toString()
      if (!keys.includes(key)) continue
      change?.(value)
      if (change !== undefined) await database.put(at, value)
      found.set(key, Buffer.from(value).toString('hex'))
    }
    await database.close()
    return found
  }

  /** Waits until a node that has just started can reach all others. */
  const linked = (node: Node): Promise<unknown> =>
    until('all others can be reached', 20_000, async () => {
      const found = await node.get(KEYS.at(-1)!, { consistency: 'all' }).catch(() => undefined)
      return found !== undefined
    })

  const countCorrupt = (node: Node): (() => number) => {
    let count = 0
    node.addEventListener('data:corrupt', ({ detail }) => (count += detail.count))
    return () => count
  }

  it('are found, reported and healed from other copies, by reads and by a repair that reads all; nobody sees them', async () => {
    const paths = [lab.folder(), lab.folder(), lab.folder()]
    const first = await lab.start({ storage: new ClassicLevel(paths[0]!) })
    const bootstrap = first.addresses
    await lab.start({ bootstrap, storage: new ClassicLevel(paths[1]!) })
    const third = await lab.start({ bootstrap, storage: new ClassicLevel(paths[2]!) })
    await third.settled({ timeoutMs: 20_000 })
    await first.batch(
      KEYS.map(key => ({ type: 'put', key, value: `value of ${key}` })),
      { consistency: 'all' }
    )
    await third.stop()
    const whole = await stored(paths[2]!, KEYS)
    assert.equal(whole.size, KEYS.length)
    const rotten = KEYS.slice(0, 5)
    await stored(paths[2]!, rotten, flipLastBit)

    const back = await lab.start({ bootstrap, storage: new ClassicLevel(paths[2]!) })
    const told = countCorrupt(back)
    await linked(back)
    const expected = KEYS.map(key => `value of ${key}`)
    assert.equal(await back.get(KEYS[0]!, { consistency: 'one' }), expected[0])
    for (const node of [first, back]) assert.deepEqual(await node.getMany(KEYS), expected)
    assert.deepEqual(await back.getMany(KEYS, { consistency: 'one' }), expected)
    await until('all that was read is healed', 20_000, () => back.status().storage.corruptLeft === 0)
    assert.equal(back.status().storage.corrupt, 5)
    await until('it is told', 10_000, () => told() === 5)
    await back.stop()
    assert.deepEqual(await stored(paths[2]!, KEYS), whole)

    await stored(paths[2]!, rotten, flipLastBit)
    const scanning = await lab.start({ bootstrap, storage: new ClassicLevel(paths[2]!) })
    await linked(scanning)
    for (const consistency of ['one', 'quorum'] as const) {
      const scanned = await scanning.keys({ prefix: 'k', consistency }).all()
      assert.deepEqual(scanned, KEYS.toSorted(), consistency)
    }
    // A scan asks for each partition whom it likes.
    await scanning.getMany(KEYS, { consistency: 'one' })
    await until('all is found and healed', 20_000, () => {
      const { corrupt, corruptLeft } = scanning.status().storage
      return corrupt === 5 && corruptLeft === 0
    })
    await scanning.stop()

    await stored(paths[2]!, rotten, flipLastBit)
    const again = await lab.start({ bootstrap, storage: new ClassicLevel(paths[2]!) })
    await linked(again)
    assert.deepEqual((await again.repair({ verify: true })).missed, [])
    const { corrupt, corruptLeft } = again.status().storage
    assert.deepEqual([corrupt, corruptLeft], [5, 0])
    await again.stop()
    assert.deepEqual(await stored(paths[2]!, KEYS), whole)
  }).timeout(120_000)

  it('are read from the cache as they were written, and put back from there by a repair that reads all', async () => {
    const storage = new ClassicLevel<string, Uint8Array>(lab.folder(), { valueEncoding: 'view' })
    const node = await lab.start({ replicas: 1, storage })
    await node.batch(KEYS.map(key => ({ type: 'put', key, value: key })))
    const bytes = { keyEncoding: 'view', valueEncoding: 'view' } as const
    const records = { gte: Uint8Array.of(0x10), lt: Uint8Array.of(0x11) }
    const before = await storage.iterator<Uint8Array, Uint8Array>({ ...bytes, ...records }).all()
    for (const [at, value] of before.slice(0, 5)) {
      const rotten = new Uint8Array(value)
      flipLastBit(rotten)
      await storage.put<Uint8Array, Uint8Array>(at, rotten, bytes)
    }
    assert.deepEqual(await node.getMany(KEYS), KEYS)
    assert.equal(node.status().storage.corrupt, 0)
    await node.repair({ verify: true })
    await until('all is whole again', 10_000, () => node.status().storage.corruptLeft === 0)
    assert.equal(node.status().storage.corrupt, 5)
    const after = await storage.iterator<Uint8Array, Uint8Array>({ ...bytes, ...records }).all()
    assert.deepEqual(after, before)
    assert.ok(node.status().storage.cache.hits >= KEYS.length)
  }).timeout(30_000)

  it('are refused with KV_CORRUPT where there is no other copy, until they are written or deleted', async () => {
    const path = lab.folder()
    const options = { replicas: 1 }
    const node = await lab.start({ ...options, storage: new ClassicLevel(path) })
    await node.batch(KEYS.map(key => ({ type: 'put', key, value: key })))
    await node.stop()
    await stored(path, KEYS.slice(0, 3), flipLastBit)
    const back = await lab.start({ ...options, storage: new ClassicLevel(path) })
    const [a, b, c] = KEYS as [string, string, string]
    for (let i = 0; i < 2; i++) {
      for (const key of [a, b, c]) {
        await assert.rejects(back.get(key), error => isKilovoltError(error, 'KV_CORRUPT'))
        await assert.rejects(back.get(key, { consistency: 'one' }), error => isKilovoltError(error, 'KV_CORRUPT'))
      }
      await back.repair({ verify: true })
    }
    assert.equal(back.status().health, 'degraded')
    const scan = back.keys({ gte: c })
    await assert.rejects(scan.all(), error => isKilovoltError(error, 'KV_CORRUPT') && error.details['key'] === c)
    const seen: string[] = []
    const walk = async (): Promise<void> => {
      for await (const [key] of back.entries({ gt: b })) seen.push(key)
    }
    await assert.rejects(walk(), error => isKilovoltError(error, 'KV_CORRUPT') && error.details['key'] === c)
    assert.deepEqual(seen, KEYS.toSorted().slice(KEYS.toSorted().indexOf(b) + 1, KEYS.toSorted().indexOf(c)))
    await assert.rejects(back.count(), error => isKilovoltError(error, 'KV_CORRUPT'))
    await back.put(a, 'anew')
    await back.delete(b)
    assert.deepEqual([await back.get(a), await back.get(b)], ['anew', undefined])
    await assert.rejects(back.get(c), error => isKilovoltError(error, 'KV_CORRUPT'))
    assert.deepEqual([back.status().storage.corrupt, back.status().storage.corruptLeft], [3, 1])
    await back.clear()
    assert.deepEqual(await back.keys().all(), [])
    assert.equal(back.status().storage.corruptLeft, 0)
  }).timeout(60_000)
})
