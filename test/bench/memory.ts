import { fork } from 'node:child_process'
import { once } from 'node:events'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { HeldMemory, MemorySubject } from './memory-child.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

/** kilovolt's own, beyond what the database takes, bytes of each record. */
const WANTED_BYTES = 120

/** What records take in memory: of a node, with its database, and of the same database alone. */
export async function benchMemory(records: number): Promise<Report> {
  const alone = await heldBy('database', records)
  const node = await heldBy('node', records)
  const [before, after] = [alone, node].map(({ usedBytes }) => usedBytes / records) as [number, number]
  const own = after - before
  const resident = [alone, node].map(({ rssBytes }) => figure(rssBytes / records)) as [string, string]
  const rows = [
    ['in use after collecting garbage', figure(before), figure(after), figure(own)],
    // How much garbage there was is not a cost of either.
    ['resident', ...resident, '']
  ]
  rows[0]!.push(`≤ ${WANTED_BYTES}`, own <= WANTED_BYTES ? 'yes' : 'no')
  rows[1]!.push('', '')
  const head = [
    `bytes a record, ${records.toLocaleString('en')} of 100 bytes in memory`,
    'bare database',
    'kilovolt',
    'beyond it',
    'wanted',
    'reached'
  ]
  return { sections: [{ name: 'memory', head, rows }], figures: { 'own memory, bytes a record': own } }
}

async function heldBy(subject: MemorySubject, records: number): Promise<HeldMemory> {
  const file = fileURLToPath(new URL(`memory-child${extname(import.meta.url)}`, import.meta.url))
  const child = fork(file, [subject, String(records)], {
    execArgv: [...process.execArgv, '--expose-gc', '--max-old-space-size=8192']
  })
  const [held] = (await once(child, 'message')) as [HeldMemory]
  child.disconnect()
  return held
}
