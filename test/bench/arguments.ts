import { parseArgs } from 'node:util'
import { STORES } from './bench-process.ts'
import type { CellFilter } from './cell.ts'
import { LEVELS, MIXES, SPREADS } from './load.ts'

/** What the bench is told on its command line. */
export interface BenchArguments {
  /** The part to run; all that belongs on the page when none is named. */
  readonly part: string
  /** What follows the part: a number, or a folder. */
  readonly argument: string | undefined
  readonly rounds: number
  /** Length of each measurement, when it is named. */
  readonly seconds: number | undefined
  readonly perSecond: readonly number[]
  /** Whether to write what is found into the page. */
  readonly page: boolean
  /** File for what is found, as JSON. */
  readonly results: string | undefined
  /** Two revisions to compare. */
  readonly compare: readonly [string, string] | undefined
  readonly filter: CellFilter
  /** Whether any cell was named. */
  readonly isFiltered: boolean
}

const ROUNDS = 5

/** @throws Error that says what is wrong */
export function parseArguments(argv: readonly string[]): BenchArguments {
  const args = [...argv]
  const at = args.indexOf('--compare')
  const [, a, b] = at < 0 ? [] : args.splice(at, 3)
  if (at >= 0 && (a === undefined || b === undefined)) throw new Error('--compare takes two revisions')
  const list = { type: 'string', multiple: true, default: [] as string[] } as const
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: String(ROUNDS) },
      seconds: { type: 'string' },
      page: { type: 'boolean', default: false },
      results: { type: 'string' },
      mix: list,
      level: list,
      spread: list,
      values: list,
      many: list,
      'in-flight': list,
      members: list,
      store: list,
      'per-second': list
    }
  })
  const filter: CellFilter = {
    mixes: named('mix', values.mix, MIXES),
    levels: named('level', values.level, LEVELS),
    spreads: named('spread', values.spread, SPREADS),
    values: numbers('values', values.values),
    many: numbers('many', values.many),
    inFlight: numbers('in-flight', values['in-flight']),
    members: numbers('members', values.members),
    stores: named(
      'store',
      split(values.store).map(store => (store === 'disk' ? 'os' : store)),
      STORES
    )
  }
  return {
    part: positionals[0] ?? 'all',
    argument: positionals[1],
    rounds: number('rounds', values.rounds),
    seconds: values.seconds === undefined ? undefined : number('seconds', values.seconds),
    perSecond: numbers('per-second', values['per-second']),
    page: values.page,
    results: values.results,
    compare: a === undefined || b === undefined ? undefined : [a, b],
    filter,
    isFiltered: Object.values(filter).some(some => some.length > 0)
  }
}

/** Each option may be given several times, or several values with commas between. */
function split(values: readonly string[]): readonly string[] {
  return values.flatMap(value => value.split(','))
}

function named<T extends string>(option: string, values: readonly string[], known: readonly T[]): readonly T[] {
  return split(values).map(value => {
    const found = known.find(each => each === value)
    if (found === undefined) throw new Error(`--${option} is one of ${known.join(', ')}, not ${value}`)
    return found
  })
}

function numbers(option: string, values: readonly string[]): readonly number[] {
  return split(values).map(value => number(option, value))
}

function number(option: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${option} takes a number above 0, not ${text}`)
  return value
}
