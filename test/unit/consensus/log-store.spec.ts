import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { crc32 } from 'node:zlib'
import { utf8 } from '../../../src/base/bytes.ts'
import { type ErrorCode, isKilovoltError } from '../../../src/base/errors.ts'
import { Writer } from '../../../src/codec/writer.ts'
import { LogStore, bootstrapGroup } from '../../../src/consensus/log-store.ts'
import type { Entry, Snapshot } from '../../../src/consensus/messages.ts'
import { EMPTY_LOG_STATE, type LogState } from '../../../src/consensus/raft-log.ts'
import type { Ready } from '../../../src/consensus/ready.ts'
import { type Random } from '../../../src/runtime/random.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { raftLogKey, raftLogRange, raftStateKey } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { Store } from '../../../src/storage/store.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { GatedStore } from '../../support/gated-store.ts'
import { storeId } from '../../support/raft-network.ts'

const GROUP = 3
const CONFIGURATION = { voters: [storeId(1), storeId(2)], outgoing: [], learners: [storeId(3)] }

type Write = Pick<Ready, 'hardState' | 'snapshot' | 'entries' | 'sync'>

function write(change: Partial<Write>): Write {
  return { hardState: undefined, snapshot: undefined, entries: [], sync: true, ...change }
}

/** Commands of a term at consecutive places. */
function entries(from: number, to: number, term: number): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    return { index: from + i, term, kind: 'command', command: utf8(`${term}/${from + i}`) } as const
  })
}

function snapshotAt(index: number, term: number): Snapshot {
  return { index, term, configuration: CONFIGURATION, data: utf8(`state of ${index}`) }
}

async function newStore(): Promise<GatedStore> {
  return new GatedStore(await LevelStore.open(new MemoryLevel()), true)
}

/** What a process that starts on the store finds. */
function reopened(store: Store): Promise<LogState> {
  return new LogStore(store, GROUP).load()
}

function coded(code: ErrorCode): (error: unknown) => boolean {
  return error => isKilovoltError(error, code)
}

/** A store with a log of ten entries, five of them behind a snapshot, as each test may spoil it. */
async function filled(): Promise<{ store: GatedStore; log: LogStore }> {
  const store = await newStore()
  const log = new LogStore(store, GROUP)
  await log.load()
  await log.write(write({ hardState: { term: 2, vote: storeId(1), commit: 7 }, entries: entries(1, 10, 2) }))
  await log.trim(snapshotAt(5, 2), 4, 2)
  return { store, log }
}

describe('the log of a group in the store', () => {
  it('is empty in a new store', async () => {
    assert.equal(await reopened(await newStore()), EMPTY_LOG_STATE)
  })

  it('gives back what was written, of every kind', async () => {
    const store = await newStore()
    const log = new LogStore(store, GROUP)
    await log.load()
    const all: Entry[] = [
      { index: 1, term: 1, kind: 'configuration', configuration: CONFIGURATION },
      { index: 2, term: 3, kind: 'empty' },
      { index: 3, term: 3, kind: 'command', command: utf8('') },
      { index: 4, term: 4, kind: 'command', command: new Uint8Array(1000).fill(7) }
    ]
    const hardState = { term: 4, vote: storeId(2), commit: 2 }
    await log.write(write({ hardState, entries: all }))
    assert.deepEqual(await reopened(store), { ...EMPTY_LOG_STATE, hardState, entries: all })
  })

  it('keeps groups apart', async () => {
    const store = await newStore()
    await bootstrapGroup(store, GROUP, storeId(1))
    assert.equal(await new LogStore(store, GROUP + 1).load(), EMPTY_LOG_STATE)
    assert.equal((await reopened(store)).entries.length, 1)
  })

  it('writes a turn as one batch, synced when others rely on it', async () => {
    const { store, log } = await filled()
    store.batches.length = 0
    const hardState = { term: 3, vote: undefined, commit: 8 }
    await log.write(write({ hardState, entries: entries(9, 12, 3) }))
    await log.write(write({ hardState: { ...hardState, commit: 12 }, sync: false }))
    await log.write(write({ sync: false }))
    assert.deepEqual(
      store.batches.map(({ sync }) => sync),
      [true, false]
    )
  })

  it('does not sync in a database without permanence', async () => {
    const store = new GatedStore(await LevelStore.open(new MemoryLevel()), false)
    const log = new LogStore(store, GROUP)
    await log.load()
    await log.write(write({ hardState: { term: 1, vote: undefined, commit: 0 }, entries: entries(1, 1, 1) }))
    assert.deepEqual(
      store.batches.map(({ sync }) => sync),
      [false]
    )
  })

  it('drops what a new leader has cut off', async () => {
    const { store, log } = await filled()
    await log.write(write({ entries: entries(8, 8, 3) }))
    const state = await reopened(store)
    assert.deepEqual(
      state.entries.map(({ index, term }) => `${index}/${term}`),
      ['4/2', '5/2', '6/2', '7/2', '8/3']
    )
  })

  it('takes a snapshot in place of the log, whatever the log was', async () => {
    for (const index of [7, 20]) {
      const { store, log } = await filled()
      const hardState = { term: 4, vote: undefined, commit: index }
      await log.write(write({ hardState, snapshot: snapshotAt(index, 4), entries: entries(index + 1, index + 2, 4) }))
      const state = await reopened(store)
      assert.deepEqual(state.snapshot, snapshotAt(index, 4))
      assert.deepEqual([state.firstIndex, state.beforeTerm, state.entries.length], [index + 1, 4, 2])
      const left = await store.page(raftLogRange(GROUP), 100)
      assert.equal(left.length, 2)
    }
  })

  it('trims entries and forgets the snapshot before', async () => {
    const { store, log } = await filled()
    await log.trim(snapshotAt(9, 2), 8, 2)
    const state = await reopened(store)
    assert.deepEqual([state.firstIndex, state.snapshot?.index, state.entries.length], [8, 9, 3])
    const fields = await store.page({ gte: raftStateKey(GROUP, 0x10), lt: raftStateKey(GROUP, 0x12) }, 10)
    assert.equal(fields.length, 1)
  })

  it('founds a group once', async () => {
    const store = await newStore()
    await bootstrapGroup(store, GROUP, storeId(1))
    await assert.rejects(bootstrapGroup(store, GROUP, storeId(1)), coded('KV_CONFIG'))
  })
})

describe('the log of a group that cannot be trusted (R5)', () => {
  const spoilers: Record<string, (store: Store) => Promise<void>> = {
    'an entry is missing': store => store.batch([{ key: raftLogKey(GROUP, 7), value: undefined }], { sync: true }),
    'the first entry is missing': store =>
      store.batch([{ key: raftLogKey(GROUP, 4), value: undefined }], { sync: true }),
    'the last entry is missing': store =>
      store.batch([{ key: raftLogKey(GROUP, 10), value: undefined }], { sync: true }),
    'all entries are missing': store => store.clear(raftLogRange(GROUP)),
    'term and vote are missing': store =>
      store.batch([{ key: raftStateKey(GROUP, 0), value: undefined }], { sync: true }),
    'the snapshot is missing': async store => {
      const slots = await store.page({ gte: raftStateKey(GROUP, 0x10), lt: raftStateKey(GROUP, 0x12) }, 10)
      await store.batch([{ key: slots[0]![0], value: undefined }], { sync: true })
    },
    'entries have changed places': async store => {
      const [a, b] = [raftLogKey(GROUP, 7), raftLogKey(GROUP, 8)]
      const [valueA, valueB] = await store.getMany([a, b])
      await store.batch(
        [
          { key: a, value: valueB },
          { key: b, value: valueA }
        ],
        { sync: true }
      )
    }
  }

  for (const [what, spoil] of Object.entries(spoilers)) {
    it(`is refused when ${what}`, async () => {
      const { store } = await filled()
      await spoil(store)
      await assert.rejects(reopened(store), coded('KV_CORRUPT'))
    })
  }

  it('is refused in another way when a later version has written it', async () => {
    const { store } = await filled()
    const key = raftStateKey(GROUP, 0)
    const body = Uint8Array.of(2, 1, 2, 3)
    const value = new Writer()
      .u32(crc32(body, crc32(key)))
      .raw(body)
      .finish()
    await store.batch([{ key, value }], { sync: true })
    await assert.rejects(reopened(store), coded('KV_STORAGE_FORMAT'))
  })

  it('is refused for any flipped bit, wherever it is', async () => {
    const { store } = await filled()
    const all = await store.page({ gte: Uint8Array.of(0), lt: undefined }, 1000)
    const random = new SeededRandom('bits')
    for (const [key, value] of all) {
      for (let i = 0; i < 20; i++) {
        const spoilt = new Uint8Array(value)
        spoilt[random.int(value.length)]! ^= 1 << random.int(8)
        await store.batch([{ key, value: spoilt }], { sync: true })
        await assert.rejects(reopened(store), coded('KV_CORRUPT'))
      }
      await store.batch([{ key, value }], { sync: true })
    }
    assert.equal((await reopened(store)).entries.length, 7)
  })
})

describe('the log of a group on a machine that crashes', () => {
  it('is always that of some moment between what was promised and what was written (R4)', async () => {
    for (let seed = 1; seed <= 60; seed++) await crashes(seed)
  })
})

/** Writes at random until the machine dies in the middle of it; then the log must be whole, and not older than promised. */
async function crashes(seed: number): Promise<void> {
  const world = new SimWorld({ seed: `log ${seed}` })
  const { random } = world
  const disk = new SimDisk(random.fork('disk'))
  const clock = world.clock('machine')
  const log = new LogStore(new SimStore({ disk, clock }), GROUP)
  /** Every state that was ever to be seen, and the first that may be. */
  const moments: LogState[] = []
  let durable = -1
  const running = (async () => {
    let state = await log.load()
    moments.push(state)
    durable = 0
    for (;;) {
      const { next, apply, sync } = draw(random, state)
      state = next
      moments.push(next)
      await apply(log)
      if (sync) durable = moments.length - 1
    }
  })()
  running.catch(() => {})
  await world.run(() => false, { limitMs: random.int(400) })
  clock.kill()
  disk.crash({ machine: true })
  const store = new SimStore({ disk, clock: world.clock('machine') })
  let found: LogState | undefined
  reopened(store).then(
    state => (found = state),
    (error: unknown) => assert.fail(`sim seed ${seed}: ${String(error)}`)
  )
  await world.run(() => found !== undefined, { limitMs: 10_000 })
  const at = moments.findIndex((moment, i) => i >= Math.max(0, durable) && same(moment, found!))
  assert.ok(at !== -1, `sim seed ${seed}: the log is of no moment since ${durable}`)
}

interface Draw {
  readonly next: LogState
  readonly sync: boolean
  readonly apply: (log: LogStore) => Promise<void>
}

function draw(random: Random, state: LogState): Draw {
  const last = state.firstIndex - 1 + state.entries.length
  const term = state.hardState.term + random.int(2)
  switch (random.int(4)) {
    case 0: {
      const index = last + random.int(3) + 1
      const snapshot = snapshotAt(index, term)
      const hardState = { term, vote: undefined, commit: index }
      const next = { hardState, snapshot, firstIndex: index + 1, beforeTerm: term, entries: [] }
      return { next, sync: true, apply: log => log.write(write({ hardState, snapshot })) }
    }
    case 1: {
      const { commit } = state.hardState
      const base = state.snapshot?.index ?? 0
      if (commit <= base || commit < state.firstIndex) break
      const firstIndex = state.firstIndex + random.int(commit - state.firstIndex + 1)
      const termAt = (index: number): number =>
        index < state.firstIndex ? state.beforeTerm : state.entries[index - state.firstIndex]!.term
      const snapshot = snapshotAt(commit, termAt(commit))
      const beforeTerm = termAt(firstIndex - 1)
      const next = {
        ...state,
        snapshot,
        firstIndex,
        beforeTerm,
        entries: state.entries.filter(e => e.index >= firstIndex)
      }
      return { next, sync: true, apply: log => log.trim(snapshot, firstIndex, beforeTerm) }
    }
    case 2: {
      const commit = state.hardState.commit + random.int(last - state.hardState.commit + 1)
      const hardState = { ...state.hardState, commit }
      return { next: { ...state, hardState }, sync: false, apply: log => log.write(write({ hardState, sync: false })) }
    }
    default:
  }
  const from = state.hardState.commit + 1 + random.int(last - state.hardState.commit + 1)
  const added = entries(from, from + random.int(5), Math.max(1, term))
  const hardState = { term: Math.max(1, term), vote: undefined, commit: state.hardState.commit }
  const kept = state.entries.filter(({ index }) => index < from)
  const next = { ...state, hardState, entries: [...kept, ...added] }
  return { next, sync: true, apply: log => log.write(write({ hardState, entries: added })) }
}

function same(a: LogState, b: LogState): boolean {
  try {
    assert.deepEqual(a, b)
    return true
  } catch {
    return false
  }
}
