// One process of the bench of memory: fills a node that is alone, or its database without it, and says what that takes.
import { MemoryLevel } from 'memory-level'
import { createNode } from 'kilovolt'

export type MemorySubject = 'database' | 'node'

/** What records have added to a process. */
export interface HeldMemory {
  /** Heap and buffers that are in use after a collection. */
  readonly usedBytes: number
  readonly rssBytes: number
}

const VALUE_BYTES = 100
const AT_ONCE = 1000

type Change = { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }

/** Keys of 16 bytes; each value is an array of its own, as they are when they come from somewhere. */
async function fill(records: number, write: (changes: Change[]) => Promise<void>): Promise<void> {
  for (let at = 0; at < records; at += AT_ONCE) {
    const changes = Array.from({ length: Math.min(AT_ONCE, records - at) }, (_, i) => {
      // In no order, as keys come.
      const number = ((at + i) * 7919) % records
      return {
        type: 'put',
        key: `key:${String(number).padStart(12, '0')}`,
        value: new Uint8Array(VALUE_BYTES).fill(number)
      } as const
    })
    await write(changes)
  }
}

async function held(): Promise<HeldMemory> {
  // A turn between collections: finalizers free what the one before has found.
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    await new Promise(resolve => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { usedBytes: heapUsed + external, rssBytes: rss }
}

async function writerOf(subject: MemorySubject): Promise<(changes: Change[]) => Promise<void>> {
  if (subject === 'node') {
    const values = (await createNode()).keyspace<Uint8Array>('', { valueEncoding: 'view' })
    return changes => values.batch(changes)
  }
  const database = new MemoryLevel<string, Uint8Array>({ storeEncoding: 'view', valueEncoding: 'view' })
  await database.open()
  return changes => database.batch(changes)
}

const write = await writerOf(process.argv[2] as MemorySubject)
const before = await held()
await fill(Number(process.argv[3]), write)
const after = await held()
process.send!({
  usedBytes: after.usedBytes - before.usedBytes,
  rssBytes: after.rssBytes - before.rssBytes
} satisfies HeldMemory)
process.on('disconnect', () => process.exit())
