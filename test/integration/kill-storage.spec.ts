import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { utf8 } from '../../src/base/bytes.ts'
import { isKilovoltError } from '../../src/base/errors.ts'
import { recordHlc, recordValue } from '../../src/model/record.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { systemRandom } from '../../src/runtime/system-random.ts'
import { ApplyLoop } from '../../src/storage/apply-loop.ts'
import { closeIdentity, openIdentity, type Identity } from '../../src/storage/identity.ts'
import { LevelStore } from '../../src/storage/level-store.ts'
import { CeilingStampSource } from '../../src/storage/stamp-source.ts'
import { forkCompiled } from '../support/compiled.ts'
import type { Acknowledged, Opened } from './kill-storage.ts'

const ROUNDS = 4
/** Acknowledgements after which a process is killed: some number up to this. */
const ACKNOWLEDGED_MAX = 4000
/** Each process finds the wall clock set back by this much: only what the store remembers keeps its stamps above. */
const CLOCK_STEP_MS = 3_600_000

/** A process that writes until it is killed, and what it has said so far. */
class Writer {
  readonly acknowledged: Acknowledged[] = []
  opened: Opened | undefined
  readonly #child: ChildProcess
  #wake = (): void => {}

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#child.on('message', message => {
      const report = message as Opened | Acknowledged
      if (report.kind === 'opened') this.opened = report
      else this.acknowledged.push(report)
      this.#wake()
    })
    this.#child.on('exit', () => this.#wake())
  }

  static async start(directory: string, durability: string, first: number, slowMs: number): Promise<Writer> {
    const args = [directory, durability, String(first), String(slowMs)]
    return new Writer(await forkCompiled('test/integration/kill-storage-child.js', args))
  }

  /** Resolves when that many writes were acknowledged; mocha's time-out is the deadline. */
  async until(count: number): Promise<void> {
    while (this.acknowledged.length < count) {
      if (this.#child.exitCode !== null) throw new Error(`the writer ended by itself with ${this.#child.exitCode}`)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** Kills it at once; what it had managed to report is read to the end. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    // The channel is read to its end after the process is gone.
    const gone = Promise.all([once(this.#child, 'exit'), once(this.#child, 'disconnect')])
    this.#child.kill('SIGKILL')
    await gone
  }
}

async function open(directory: string): Promise<{ store: LevelStore; identity: Identity }> {
  const store = await LevelStore.open(new ClassicLevel(directory))
  const identity = await openIdentity(store, {
    random: systemRandom,
    createPeerKey: () => Promise.reject(new Error('the store is not new'))
  })
  return { store, identity }
}

describe('a store on disk whose process is killed', () => {
  let directory: string
  let writer: Writer | undefined

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kilovolt-kill-'))
  })

  afterEach(async () => {
    await writer?.kill()
    await rm(directory, { recursive: true, force: true })
  })

  for (const durability of ['os', 'fsync'] as const) {
    it(`has every acknowledged write, and goes on above every stamp (${durability})`, async function () {
      this.timeout(60_000)
      const newest = new Map<string, Acknowledged>()
      let storeId: string | undefined
      let next = 0
      let highest = 0
      for (let round = 0; round < ROUNDS; round++) {
        writer = await Writer.start(directory, durability, next, round * CLOCK_STEP_MS)
        await writer.until(1 + systemRandom.int(ACKNOWLEDGED_MAX))
        await writer.kill()
        assert.equal(writer.opened!.openedClean, round === 0, 'whether the opening after a kill is reported as unclean')
        storeId ??= writer.opened!.storeId
        assert.equal(writer.opened!.storeId, storeId)

        for (const write of writer.acknowledged) {
          const place = `${write.partition}/${write.key}`
          if ((newest.get(place)?.hlc ?? 0) < write.hlc) newest.set(place, write)
        }
        const lowest = Math.min(...writer.acknowledged.map(({ hlc }) => hlc))
        assert.ok(lowest > highest, 'a stamp after the restart is not above all earlier ones')
        highest = Math.max(...writer.acknowledged.map(({ hlc }) => hlc))
        next = Math.max(...writer.acknowledged.map(({ number }) => number)) + 1000

        await checkAll(directory, newest, highest)
      }
    })
  }

  it('is refused to a second process, and to a second instance in the same one, while it is open', async function () {
    this.timeout(30_000)
    writer = await Writer.start(directory, 'os', 0, 0)
    await writer.until(1)
    const inUse = { name: 'KilovoltError', code: 'KV_STORAGE_IN_USE' }
    await assert.rejects(LevelStore.open(new ClassicLevel(directory)), inUse)
    await writer.kill()

    const first = await LevelStore.open(new ClassicLevel(directory))
    await assert.rejects(LevelStore.open(new ClassicLevel(directory)), inUse)
    await first.close()
    await (await LevelStore.open(new ClassicLevel(directory))).close()
  })

  it('is reported as clean after it was closed in good order, and its clock does not jump ahead', async () => {
    const store = await LevelStore.open(new ClassicLevel(directory))
    const created = await openIdentity(store, { random: systemRandom, createPeerKey: async () => utf8('key') })
    const stamps = new CeilingStampSource({ store, clock: systemClock }, created)
    const last = await stamps.next()
    await stamps.close()
    await closeIdentity(store, stamps.last)
    await store.close()
    const again = await open(directory)
    assert.equal(again.identity.openedClean, true)
    assert.equal(again.identity.ceiling, last.hlc)
    await again.store.close()
  })
})

async function checkAll(directory: string, newest: ReadonlyMap<string, Acknowledged>, highest: number): Promise<void> {
  const store = await LevelStore.open(new ClassicLevel(directory))
  try {
    // Only read: the next writer must still find the store as the killed one left it.
    const records = new ApplyLoop({ store, clock: systemClock })
    for (const write of newest.values()) {
      const found = await records.get({ partition: write.partition, keyspace: utf8(''), key: utf8(write.key) })
      assert.ok(found !== undefined, `write ${write.number} of ${write.key} is gone`)
      // A newer one that was written but not yet acknowledged may stand in its place.
      assert.ok(recordHlc(found) >= write.hlc, `write ${write.number} of ${write.key} is back at an older one`)
      if (recordHlc(found) === write.hlc) {
        assert.equal(Buffer.from(recordValue(found)!).toString().replace(/\.+$/u, ''), String(write.number))
      }
    }
    assert.ok(newest.size > 0 && highest > 0)
  } catch (error) {
    if (isKilovoltError(error)) assert.fail(`the store cannot be read after the kill: ${error.message}`)
    throw error
  } finally {
    await store.close()
  }
}
