import { ENCRYPTIONS, type Encryption } from './bare-frames.ts'
import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { USUAL_LOAD } from './load.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

/** Of each way in a round. */
const SECONDS = 0.5
const CELLS = [
  { valueBytes: 100, inFlight: 1 },
  { valueBytes: 100, inFlight: 64 },
  { valueBytes: 1024, inFlight: 1 },
  { valueBytes: 65_536, inFlight: 1 },
  { valueBytes: 65_536, inFlight: 64 }
] as const
type Cell = (typeof CELLS)[number]

/** How frames travel: by an encryption over libp2p, or over TCP alone. */
type Way = Encryption | 'tcp'
const WAYS: readonly Way[] = [...ENCRYPTIONS, 'tcp']
const OTHERS = WAYS.filter(way => way !== 'noise')

const TITLES: { readonly [W in Way]: string } = {
  noise: 'noise',
  packagedNoise: 'noise as its package has it',
  nodeNoise: "noise, Node's cipher alone",
  wasmNoise: 'noise, the cipher in WebAssembly alone',
  jsNoise: 'noise, the cipher in JavaScript alone',
  tls: 'TLS',
  corkedTls: 'TLS, a record for what is sent at once',
  plaintext: 'libp2p without encryption',
  tcp: 'TCP alone'
}

/** What is found of a way beside noise: ratios of operations a second, of CPU time, and of bytes on the wire. */
type Found = readonly [rate: number, cpu: number, bytes: number]

/** What encryption costs: bare frames by each way, beside the noise that kilovolt has. */
export async function benchEncryption(rounds: number): Promise<Report> {
  const found = new Map<string, Found[]>()
  await withGroups(
    ENCRYPTIONS.map(encryption => BenchGroup.bare('memory', encryption)),
    async (...groups) => {
      const [first] = groups
      for (const group of groups) await group.warmUp(['frames'])
      await first!.warmUp(['tcpFrames'])
      const measure = (way: Way, { valueBytes, inFlight }: Cell): Promise<Result> => {
        const group = way === 'tcp' ? first! : groups[ENCRYPTIONS.indexOf(way)]!
        const load = { ...USUAL_LOAD, mix: 'put', valueBytes } as const
        return group.measure(way === 'tcp' ? 'tcpFrames' : 'frames', load, { inFlight, seconds: SECONDS })
      }
      for (let round = 0; round < rounds; round++) {
        for (const cell of CELLS) await beside(found, cell, round, way => measure(way, cell))
        process.stderr.write(`round ${round + 1} of ${rounds}\n`)
      }
    }
  )
  return report(found)
}

/** All ways one after the other, in every other round the other way round, so that what drifts leans to no side. */
async function beside(
  found: Map<string, Found[]>,
  cell: Cell,
  round: number,
  measure: (way: Way) => Promise<Result>
): Promise<void> {
  const results = new Map<Way, Result>()
  for (const way of round % 2 === 0 ? WAYS : WAYS.toReversed()) results.set(way, await measure(way))
  const noise = results.get('noise')!
  for (const way of OTHERS) {
    const other = results.get(way)!
    const name = nameOf(way, cell)
    let list = found.get(name)
    if (list === undefined) found.set(name, (list = []))
    list.push([
      other.opsPerSecond / noise.opsPerSecond,
      other.cpuPer100k / noise.cpuPer100k,
      other.wireBytesPerOp / noise.wireBytesPerOp
    ])
  }
}

function report(found: ReadonlyMap<string, readonly Found[]>): Report {
  const figures: Record<string, number> = {}
  const rows = OTHERS.map(way => [
    TITLES[way],
    ...CELLS.map(cell => {
      const name = nameOf(way, cell)
      const all = found.get(name)!
      const [rate, cpu, bytes] = [0, 1, 2].map(i => median(all.map(each => each[i]!))) as [number, number, number]
      figures[`${name}: rate`] = rate
      figures[`${name}: CPU time`] = cpu
      figures[`${name}: bytes`] = bytes
      return [rate, cpu, bytes].map(figure).join(' · ')
    })
  ])
  const head = ['÷ noise: rate · CPU time · bytes', ...CELLS.map(cellName)]
  return { sections: [{ name: 'encryption', head, rows }], figures }
}

function cellName({ valueBytes, inFlight }: Cell): string {
  return `${valueBytes} B, ${inFlight} in flight`
}

function nameOf(way: Way, cell: Cell): string {
  return `${TITLES[way]}, ${cellName(cell)}`
}
