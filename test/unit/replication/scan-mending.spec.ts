import assert from 'node:assert/strict'
import { compareBytes, utf8 } from '../../../src/base/bytes.ts'
import { createDeferred } from '../../../src/base/deferred.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Ring } from '../../../src/model/partition.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row } from '../../../src/placement/topology.ts'
import { decodePuts } from '../../../src/replication/bundle-wire.ts'
import type { Repairs } from '../../../src/replication/repair-sender.ts'
import { Routes } from '../../../src/replication/routes.ts'
import { Scanner, type ScannerDeps } from '../../../src/replication/scanner.ts'
import { type ScanPage, type ScanRequest, decodeScan } from '../../../src/replication/scan-wire.ts'
import { Slicer } from '../../../src/runtime/slices.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { TimerWheel } from '../../../src/runtime/timer-wheel.ts'
import type { Outcome, OutgoingRequest } from '../../../src/transport/transport.ts'
import { numbers, peerNumber, store, storeNumber, topology } from '../cluster/fixtures.ts'
import { bytesOf, type PageOfObjects, packed, type ScanRow } from '../../support/scan-pages.ts'
import { record, tombstone } from './bench.ts'

const EPOCH = 10
/** 4 is to have the copy of 1. While 3 is dead, 1, 2 and 4 are asked. */
const MOVING: Row = {
  slots: [1, 2, 3].map(store),
  change: { next: [2, 3, 4].map(store), copies: [{ to: store(4), from: [store(1)] }] },
  rowEpoch: 5
}
const row = (key: string, found: RecordBytes | undefined): ScanRow => ({
  key: utf8(key),
  record: found,
  isHead: found === undefined
})

/** A scan of one partition that moves, by node 1; what each node holds the test says. */
class Moving {
  /** What the nodes that are asked hold. */
  readonly held: Record<number, readonly ScanRow[]> = { 1: [], 2: [], 4: [] }
  /** What they were given: the keys. */
  readonly given: { readonly to: number; readonly keys: readonly string[]; readonly epoch: number }[] = []
  /** Keys that were read by themselves. */
  readonly read: string[] = []
  /** Keys that are not taken. */
  readonly refused = new Set<string>()
  row: Row = MOVING
  rules: typeof SOUND_RULES = SOUND_RULES
  isBlocking = true
  /** Whether nobody else lives. */
  isOutOfReach = false
  /** Called before a page is answered. */
  onPage: () => void = () => {}
  /** Rows of a page, of one node. */
  most = Infinity
  /** What those wait for who are given something. */
  taken: Promise<unknown> = Promise.resolve()
  /** Pages that this node was asked for. */
  looks = 0
  /** Pages that were looked for, though nobody may have been asked. */
  begun = 0
  #wheel = new TimerWheel(systemClock)

  async scan(requirement: Requirement = 'quorum', wantsValues = true): Promise<string[]> {
    return this.next(this.open(requirement, wantsValues))
  }

  async next(scanner: Scanner): Promise<string[]> {
    const found = await scanner.next(100)
    return Array.from({ length: found.length }, (_, at) => Buffer.from(found.keyAt(at)).toString())
  }

  open(requirement: Requirement = 'quorum', wantsValues = true): Scanner {
    const deps = {
      self: store(1),
      clock: systemClock,
      slicer: new Slicer(systemClock, () => 0),
      wheel: this.#wheel,
      rules: this.rules,
      routes: () => new Routes(this.#topology, store(1), this.rules),
      isDead: (id: StoreId) => id === store(3) || (this.isOutOfReach && id !== store(1)),
      stamps: { last: 0, observe: () => {} },
      ring: { partitions: 1, partitionOf: () => 0 } as unknown as Ring,
      track: () => () => {},
      onPage: () => void this.begun++,
      isBlocking: () => this.isBlocking,
      repairMany: async (to: StoreId, repairs: Repairs, epoch: number) => {
        const requests = repairs.finish().flatMap(({ body }) => decodePuts(body))
        assert.ok(requests.every(({ repair }) => repair))
        const keys = requests.map(({ key }) => Buffer.from(key).toString())
        this.given.push({ to: storeNumber(to), keys, epoch })
        await this.taken
        return keys.map(key => !this.refused.has(key))
      },
      getMany: async (_keyspace: Uint8Array, keys: readonly Uint8Array[]) => {
        this.read.push(...keys.map(key => Buffer.from(key).toString()))
        return { results: keys.map(() => record(99)), failures: new Map() }
      },
      scans: {
        page: (request: ScanRequest, _epoch: number, done: (error: undefined, page: ScanPage) => void) => {
          this.looks++
          const { rows, last } = this.#answer(1, request)
          done(undefined, { epoch: EPOCH, refused: [], rows: packed(rows), last })
        }
      },
      transport: {
        request: (to: PeerId, { body }: OutgoingRequest, done: (outcome: Outcome) => void) => {
          const answer = this.#answer(peerNumber(to), decodeScan(body))
          done({ kind: 'reply', epoch: EPOCH, body: bytesOf({ epoch: EPOCH, refused: [], ...answer }) })
        }
      }
    } as unknown as ScannerDeps
    return new Scanner(deps, {
      keyspace: utf8('ks'),
      range: ALL_KEYS,
      isReverse: false,
      wantsValues,
      rests: false,
      requirement,
      timeoutMs: 5000,
      signal: undefined
    })
  }

  get #topology(): ReturnType<typeof topology> {
    return topology(numbers(4), { rows: [this.row], epoch: this.row.rowEpoch + 5 })
  }

  #answer(node: number, { heads, range }: ScanRequest): Pick<PageOfObjects, 'rows' | 'last'> {
    this.onPage()
    const isLeft = ({ key }: ScanRow): boolean => compareBytes(key, range.from) >= 0
    const left = this.held[node]!.filter(isLeft).map(one => ({ ...one, isHead: heads.length > 0 || one.isHead }))
    const rows = left.slice(0, this.most)
    return { rows, last: rows.length < left.length ? rows.at(-1)!.key : undefined }
  }
}

describe('a scan of what moves', () => {
  let moving: Moving

  beforeEach(() => {
    moving = new Moving()
    moving.held[1] = moving.held[2] = [row('a', record(1)), row('b', record(2)), row('c', record(3))]
    moving.held[4] = [row('b', record(2))]
  })

  it('gives who is about to own it what it has not copied yet, at once, and reads nothing again', async () => {
    assert.deepEqual(await moving.scan(), ['a', 'b', 'c'])
    assert.deepEqual(moving.given, [{ to: 4, keys: ['a', 'c'], epoch: EPOCH }])
    assert.deepEqual(moving.read, [])
  })

  it('reads by itself what that one does not take', async () => {
    moving.refused.add('c')
    assert.deepEqual(await moving.scan(), ['a', 'b', 'c'])
    assert.deepEqual(moving.read, ['c'])
  })

  it('reads by itself what an owner lacks: it may have been deleted, and that be forgotten', async () => {
    moving.held[2] = [row('b', record(2)), row('c', record(3))]
    assert.deepEqual(await moving.scan(), ['a', 'b', 'c'])
    assert.deepEqual(moving.read, ['a'])
    assert.deepEqual(
      moving.given.map(({ keys }) => keys),
      [['c']]
    )
  })

  it('reads by itself what copies differ in, or somebody has damaged', async () => {
    moving.held[2] = [row('a', record(9)), row('b', record(2)), row('c', undefined)]
    assert.deepEqual(await moving.scan(), ['a', 'b', 'c'])
    assert.deepEqual(moving.read, ['a', 'c'])
    moving = new Moving()
    moving.held[1] = moving.held[2] = [row('a', record(1))]
    moving.held[4] = [row('a', tombstone(7))]
    await moving.scan()
    assert.deepEqual([moving.read, moving.given], [['a'], []])
  })

  it('gives nobody anything without its value', async () => {
    await moving.scan('quorum', false)
    assert.deepEqual([moving.read, moving.given], [['a', 'c'], []])
  })

  it('does not count on what was said before it moved on', async () => {
    let pages = 0
    moving.onPage = () => {
      // The last of the three answers.
      if (++pages === 3) moving.row = { slots: MOVING.change!.next, change: undefined, rowEpoch: EPOCH + 1 }
    }
    assert.deepEqual(await moving.scan(), ['a', 'b', 'c'])
    assert.deepEqual([moving.read, moving.given], [['a', 'c'], []], 'it is an owner now')
  })

  it('looks for the next page while those who lack something of this one take it', async () => {
    moving.most = 2
    const taken = createDeferred<void>()
    moving.taken = taken.promise
    const scanner = moving.open()
    const first = moving.next(scanner)
    for (let turns = 0; moving.looks < 2; turns++) {
      assert.ok(turns < 100, 'it looks ahead')
      await new Promise(setImmediate)
    }
    assert.deepEqual(
      moving.given.map(({ keys }) => keys),
      [['a']],
      'but hands nothing out'
    )
    taken.resolve()
    assert.deepEqual(await first, ['a', 'b'])
    assert.deepEqual(await moving.next(scanner), ['c'])
    assert.deepEqual(await moving.next(scanner), [])
    assert.equal(moving.looks, 2, 'nothing was asked for twice')
  })

  it('looks again where what it has looked for ahead has failed', async () => {
    moving.most = 2
    const scanner = moving.open()
    let pages = 0
    moving.onPage = () => {
      if (++pages === 3) moving.isOutOfReach = true
    }
    assert.deepEqual(await moving.next(scanner), ['a', 'b'])
    moving.onPage = () => {}
    moving.isOutOfReach = false
    assert.deepEqual(await moving.next(scanner), ['c'], 'its own time begins when it is asked for')
    assert.equal(moving.begun, 3, 'it was looked for twice')
  })

  it('that is closed drops what it looks for ahead', async () => {
    moving.most = 2
    moving.taken = new Promise(() => {})
    const scanner = moving.open()
    const first = moving.next(scanner)
    first.catch(() => {})
    for (let turns = 0; moving.looks < 2 && turns < 100; turns++) await new Promise(setImmediate)
    scanner.close()
    await assert.rejects(first, { code: 'KV_ABORTED' })
    assert.deepEqual(await moving.next(scanner), [])
  })

  it('leaves it to a read where no quorum need hold what is read', async () => {
    moving.isBlocking = false
    await moving.scan()
    assert.deepEqual([moving.read, moving.given], [['a', 'c'], []])
    moving = new Moving()
    moving.held[1] = moving.held[2] = [row('a', record(1))]
    moving.rules = { ...SOUND_RULES, mendBeforeAnswer: false }
    await moving.scan()
    assert.deepEqual([moving.read, moving.given], [['a'], []])
  })
})
