// Writes to the directory in argv[2] through the apply loop, with the durability in argv[3], numbers from argv[4] on and
// a wall clock that is argv[5] ms slow. Reports each write over IPC when it is acknowledged. Writes until it is killed.
import { ClassicLevel } from 'classic-level'
import { utf8 } from '../../src/base/bytes.ts'
import { encodeRecord } from '../../src/model/record.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { systemRandom } from '../../src/runtime/system-random.ts'
import { ApplyLoop } from '../../src/storage/apply-loop.ts'
import { openIdentity } from '../../src/storage/identity.ts'
import { LevelStore } from '../../src/storage/level-store.ts'
import { CeilingStampSource } from '../../src/storage/stamp-source.ts'
import type { Acknowledged, Opened } from './kill-storage.ts'

const [, , directory = '', durability, first = '0', slowMs = '0'] = process.argv
const IN_FLIGHT = 64
const KEYS = 500

const store = await LevelStore.open(new ClassicLevel(directory))
const identity = await openIdentity(store, { random: systemRandom, createPeerKey: async () => utf8('a private key') })
const clock = { wallMs: () => systemClock.wallMs() - Number(slowMs) }
const stamps = new CeilingStampSource({ store, clock }, identity)
const records = new ApplyLoop({ store, clock: systemClock }, { durability: durability === 'fsync' ? 'fsync' : 'os' })

function report(message: Opened | Acknowledged): void {
  // A full channel makes `send` buffer; what is lost with the process was then simply never reported.
  process.send!(message)
}

let count = Number(first)

async function write(): Promise<void> {
  const number = count++
  const stamp = await stamps.next()
  const key = `k${number % KEYS}`
  // Now and then a large value, so that the database begins new files.
  const value = utf8(String(number).padEnd(number % 50 === 0 ? 20_000 : 100, '.'))
  const record = encodeRecord({ stamp, value })
  records.apply({ partition: number % 7, keyspace: utf8(''), key: utf8(key) }, record, error => {
    if (error === undefined) report({ kind: 'acknowledged', key, partition: number % 7, number, hlc: stamp.hlc })
    else throw error
    void write()
  })
}

report({ kind: 'opened', storeId: identity.storeId, openedClean: identity.openedClean })
for (let i = 0; i < IN_FLIGHT; i++) void write()
