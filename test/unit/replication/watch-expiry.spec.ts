import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import { WatchExpiry, type WatchExpiryDeps } from '../../../src/replication/watch-expiry.ts'
import type { RecordKey } from '../../../src/storage/record-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const actor = '0123456789abcdef' as Actor

/** Goal: every end is told, in time, by who has other things to do as well. Method: records in a map. */
describe('an owner that tells of ends', () => {
  let world: SimWorld
  let clock: ReturnType<SimWorld['clock']>
  let expiry: WatchExpiry
  let records: Map<string, RecordBytes>
  /** Keys that cannot be read. */
  let broken: Set<string>
  let told: string[]
  let reads: number

  const name = ({ key }: RecordKey): string => Buffer.from(key).toString()

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('n')
    records = new Map()
    broken = new Set()
    told = []
    reads = 0
    const deps = {
      records: {
        get: (place: RecordKey) => {
          reads++
          return broken.has(name(place))
            ? Promise.reject(new KilovoltError('KV_STORAGE', 'not now'))
            : records.get(name(place))
        }
      },
      trees: { mortalsIn: () => 0 },
      clock,
      pace: { turn: <T>(work: () => Promise<T>) => work() },
      onExpired: (place: RecordKey) => void told.push(name(place))
    }
    expiry = new WatchExpiry(deps as unknown as WatchExpiryDeps)
    expiry.cover([0])
  })

  function put(key: string, ttlMs: number): void {
    const nowMs = clock.wallMs()
    const stamp = { hlc: hlcFromMs(nowMs), actor }
    const record = encodeRecord({ stamp, value: utf8('v'), expiresAt: nowMs + ttlMs })
    records.set(key, record)
    expiry.note({ partition: 0, keyspace: utf8(''), key: utf8(key) }, record)
  }

  it('lets others have their turn when many are due at once', async () => {
    const count = 2000
    for (let i = 0; i < count; i++) put(`k${i}`, 1000)
    let most = 0
    let before = 0
    const look = (): void => {
      most = Math.max(most, told.length - before)
      before = told.length
      if (told.length < count) clock.soon(look)
    }
    clock.after(1000, look)
    await world.advance(2000)
    assert.equal(told.length, count)
    assert.ok(most <= 256, `${most} in one turn`)
    assert.equal(expiry.settledUntil([0]), clock.wallMs())
  })

  it('tells of one that could not be read when it can be, and claims nothing before', async () => {
    const startMs = clock.wallMs()
    for (const key of ['a', 'b', 'c']) put(key, 1000)
    broken.add('b')
    await world.advance(5000)
    assert.deepEqual(told.toSorted(), ['a', 'c'])
    assert.ok(expiry.settledUntil([0]) < startMs + 1000)
    assert.ok(reads < 12, `${reads} reads`)
    broken.clear()
    await world.advance(2000)
    assert.deepEqual(told.toSorted(), ['a', 'b', 'c'])
    assert.equal(expiry.settledUntil([0]), clock.wallMs())
  })

  it('asks a store that fails no more often for the number of those that are due', async () => {
    for (let i = 0; i < 2000; i++) {
      put(`k${i}`, 1000)
      broken.add(`k${i}`)
    }
    await world.advance(3500)
    assert.ok(reads <= 3 * 256, `${reads} reads`)
    broken.clear()
    await world.advance(2000)
    assert.equal(told.length, 2000)
  })
})
