import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AskedChild } from './asked-child.ts'
import type { MovingAnswers, MovingCommand } from './moving-child.ts'

/** A node in a process of its own. */
export class MovingNode extends AskedChild<MovingCommand, MovingAnswers> {
  constructor() {
    super('moving-child')
  }
}

/**
 * How fast a new node receives everything that one other holds, how late the event loops of both run meanwhile, and what
 * comparing the two equal copies costs afterwards; in memory and on disk, beside what the database alone takes.
 */
export async function benchMoving(records: number): Promise<void> {
  for (const kind of ['memory', 'disk'] as const) {
    const folders = ['a', 'b', 'c'].map(() =>
      kind === 'disk' ? mkdtempSync(join(tmpdir(), 'kilovolt-moving-')) : undefined
    )
    await benchOne(kind, records, folders)
    for (const folder of folders) if (folder !== undefined) rmSync(folder, { recursive: true })
  }
}

async function benchOne(kind: string, records: number, [a, b, c]: readonly (string | undefined)[]): Promise<void> {
  const giver = new MovingNode()
  const taker = new MovingNode()
  const alone = new MovingNode()
  try {
    const bare = await alone.ask({ kind: 'bareDatabase', records, folder: c })
    alone.stop()
    const bootstrap = await giver.ask({ kind: 'start', bootstrap: [], folder: a })
    await giver.ask({ kind: 'fill', records })
    await giver.ask({ kind: 'watch' })
    await taker.ask({ kind: 'start', bootstrap, folder: b })
    const startMs = performance.now()
    await taker.ask({ kind: 'watch' })
    await taker.ask({ kind: 'settled' })
    const seconds = (performance.now() - startMs) / 1000
    const { transfer } = await taker.ask({ kind: 'status' })
    const lags = [await giver.ask({ kind: 'lag' }), await taker.ask({ kind: 'lag' })]
    const perSecond = transfer.recordsCopied / seconds
    console.log(
      `${kind}: ${transfer.recordsCopied} records of 100 bytes moved in ${seconds.toFixed(1)} s: ${Math.round(perSecond)}/s, ` +
        `${(perSecond / bare).toFixed(2)} of what the database alone stores (${Math.round(bare)}/s); ` +
        `event loops late by ${lags.map(lag => lag.toFixed(1)).join(' ms (giver) and ')} ms (taker), 99th percentile`
    )
    const before = performance.now()
    const { differences, bytes, missed } = await giver.ask({ kind: 'repair' })
    console.log(
      `${kind}: comparing ${records} equal records took ${bytes} bytes and ${(performance.now() - before).toFixed(0)} ms ` +
        `(${differences} differences, ${missed.length} missed)`
    )
  } finally {
    for (const node of [giver, taker, alone]) node.stop()
  }
}
