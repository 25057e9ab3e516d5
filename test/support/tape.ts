import { once, type EventEmitter } from 'node:events'
import { createRequire } from 'node:module'

/** What a suite written for tape has come to. */
export interface TapeResult {
  /** Names of the cases that ran. */
  readonly cases: readonly string[]
  readonly assertions: number
  /** Each failed assertion, with its case. */
  readonly failures: readonly string[]
}

/** Tape's `test`, as a suite calls it; of no concern to who only passes it on. */
export type TapeTest = (...args: readonly unknown[]) => void

interface TapeRow {
  readonly type: 'test' | 'assert' | 'end'
  readonly id?: number
  /** Of an assertion: number of its case. */
  readonly test?: number
  readonly name?: string
  readonly ok?: boolean
  readonly error?: unknown
}

interface Tape {
  createHarness(): TapeTest & { createStream(options: { readonly objectMode: true }): EventEmitter }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : JSON.stringify(error))

const tape = createRequire(import.meta.url)('tape') as Tape

/** Runs a suite that is written for tape to its end, within any other test runner. */
export async function runTape(suite: (test: TapeTest) => void): Promise<TapeResult> {
  const harness = tape.createHarness()
  const rows = harness.createStream({ objectMode: true })
  suite(harness)
  const cases = new Map<number, string>()
  const failures: string[] = []
  let assertions = 0
  rows.on('data', ({ type, id = 0, test = 0, name = '', ok, error }: TapeRow) => {
    if (type === 'test') cases.set(id, name)
    if (type !== 'assert') return
    assertions += 1
    if (ok !== true) failures.push(`${cases.get(test)}: ${name}${error === undefined ? '' : `: ${messageOf(error)}`}`)
  })
  await once(rows, 'end')
  return { cases: [...cases.values()], assertions, failures }
}
