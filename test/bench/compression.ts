import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { createNode } from 'kilovolt'
import { MemoryLevel } from 'memory-level'
import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { documentsOf } from './documents.ts'
import { type Mix, USUAL_LOAD } from './load.ts'
import { Ratios, type Report } from './report.ts'
import type { TargetName } from './target.ts'

/** Of each side of a pair. */
const SECONDS = 0.8
/** Wanted at 1 KiB; at rest others are shown. */
const WANTED_SIZE = 1024
const SIZES_AT_REST = [600, WANTED_SIZE, 4096, 65_536]
const SAVED = { most: 0.4 }
const SLOWED = { least: 0.85 }
/** The kind of key under which records lie: see `src/storage/key-layout.ts`. */
const DATA_KIND = 0x10

/** What compressing real JSON saves, at rest and on the wire, and what it costs: beside the same without. */
export async function benchCompression(rounds: number): Promise<Report> {
  const ratios = new Ratios()
  for (const bytes of SIZES_AT_REST) {
    const [packed, plain] = [await inMemory(bytes, 'zstd'), await inMemory(bytes, false)]
    ratios.add(
      `${bytes} B: bytes of records, compressed ÷ not`,
      bytes === WANTED_SIZE ? SAVED : undefined,
      packed,
      plain
    )
  }
  const [packed, plain] = [await onDisk(WANTED_SIZE, 'zstd'), await onDisk(WANTED_SIZE, false)]
  ratios.add(`${WANTED_SIZE} B: LevelDB files (which compress too), compressed ÷ not`, undefined, packed, plain)
  await withGroups([BenchGroup.nodes()], async nodes => {
    await nodes.warmUp(['packedDocuments', 'documents'])
    for (let round = 0; round < rounds; round++) {
      for (const mix of ['put', 'get', '50/50'] as const) await beside(ratios, nodes, mix, round)
      process.stderr.write(`round ${round + 1} of ${rounds}\n`)
    }
  })
  const { sections, figures } = ratios.report()
  return { sections: sections.map(section => ({ ...section, name: 'compression' })), figures }
}

/** Both, in every other round the other way round, so that what drifts does not lean to one side. */
async function beside(ratios: Ratios, group: BenchGroup, mix: Mix, round: number): Promise<void> {
  const measure = (target: TargetName): Promise<Result> =>
    group.measure(target, { ...USUAL_LOAD, mix, valueBytes: WANTED_SIZE }, { inFlight: 64, seconds: SECONDS })
  const found = new Map<TargetName, Result>()
  for (const target of round % 2 === 0
    ? (['packedDocuments', 'documents'] as const)
    : (['documents', 'packedDocuments'] as const)) {
    found.set(target, await measure(target))
  }
  const [packed, plain] = [found.get('packedDocuments')!, found.get('documents')!]
  const what = `${WANTED_SIZE} B, ${mix}`
  ratios.add(`${what}: operations a second, compressed ÷ not`, SLOWED, packed.opsPerSecond, plain.opsPerSecond)
  const wanted = mix === 'put' ? SAVED : undefined
  ratios.add(`${what}: bytes on the wire, compressed ÷ not`, wanted, packed.wireBytesPerOp, plain.wireBytesPerOp)
  ratios.add(`${what}: CPU time of all, compressed ÷ not`, undefined, packed.cpuPer100k, plain.cpuPer100k)
}

/** Bytes of all records, with their keys, in the database of a node. */
async function inMemory(bytes: number, compression: 'zstd' | false): Promise<number> {
  const storage = new MemoryLevel<Uint8Array, Uint8Array>({
    keyEncoding: 'view',
    valueEncoding: 'view',
    storeEncoding: 'view'
  })
  const node = await createNode({ storage })
  await fill(node.keyspace('', { compression }), bytes)
  let sum = 0
  for await (const [key, value] of storage.iterator()) if (key[0] === DATA_KIND) sum += key.length + value.length
  await node.stop()
  return sum
}

/** Bytes of the files of a database, once all of it is where it stays. */
async function onDisk(bytes: number, compression: 'zstd' | false): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'kilovolt-bench-'))
  try {
    const node = await createNode({ storage: new ClassicLevel(folder) })
    await fill(node.keyspace('', { compression }), bytes)
    await node.stop()
    const database = new ClassicLevel<Uint8Array, Uint8Array>(folder, { keyEncoding: 'view', valueEncoding: 'view' })
    await database.open()
    await database.compactRange(Uint8Array.of(0), Uint8Array.of(255))
    await database.close()
    const files = readdirSync(folder).filter(name => name.endsWith('.ldb'))
    return files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function fill(
  keyspace: { batch(operations: readonly { type: 'put'; key: string; value: object }[]): Promise<void> },
  bytes: number
): Promise<void> {
  const documents = documentsOf(bytes)
  await keyspace.batch(
    documents.map((value, i) => ({ type: 'put', key: `document:${String(i).padStart(7, '0')}`, value }))
  )
}
