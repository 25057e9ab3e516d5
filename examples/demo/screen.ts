import { styleText } from 'node:util'
import type { Member } from './fleet.ts'
import type { Look } from './messages.ts'

const COLOURS = ['cyan', 'magenta', 'yellow', 'green', 'blue', 'red'] as const
const BAR = 32
const RING_ROW = 64

/** Draws on a terminal; without one it writes plain lines, and a progress bar becomes a line each quarter. */
export class Screen {
  readonly #terminal = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
  readonly #startedAt = performance.now()
  #quarter = -1

  line(text = ''): void {
    process.stdout.write(`${text}\n`)
  }

  /** A chapter of the story, with the seconds since its beginning. */
  chapter(title: string): void {
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1).padStart(5)
    this.line()
    this.line(this.#style('bold', `[${seconds} s] ${title}`))
  }

  progress(done: number, total: number, unit: string): void {
    const part = done / total
    const text = `${done.toLocaleString('en')} of ${total.toLocaleString('en')} ${unit}`
    if (this.#terminal) {
      const filled = Math.round(part * BAR)
      process.stdout.write(`\r  ${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${text}`)
      if (done === total) this.line()
      return
    }
    const quarter = Math.floor(part * 4)
    if (quarter === this.#quarter) return
    this.#quarter = done === total ? -1 : quarter
    this.line(`  ${Math.round(part * 100)} %: ${text}`)
  }

  /** Members with their share, and the ring as a strip with a letter for the first owner of each partition. */
  ring(look: Look, members: readonly Member[]): void {
    const names = new Map(members.map((member, i) => [member.id, { member, colour: COLOURS[i % COLOURS.length]! }]))
    for (const { id, slots, primaries, share } of look.shares) {
      const known = names.get(id)
      const label = known?.member.label ?? '?'
      const place = known === undefined ? 'gone' : `pid ${String(known.member.pid).padEnd(7)}`
      const bar = '█'.repeat(Math.round(share * BAR))
      const state = look.alive.includes(id) ? '' : ' (dead)'
      this.line(
        `  ${this.#style(known?.colour ?? 'gray', label)} ${id.slice(0, 8)} ${place} ${String(slots).padStart(3)} copies ` +
          `${String(primaries).padStart(3)} first ${(share * 100).toFixed(1).padStart(5)} % ${this.#style(known?.colour ?? 'gray', bar)}${state}`
      )
    }
    for (let at = 0; at < look.primaries.length; at += RING_ROW) {
      const cells = look.primaries.slice(at, at + RING_ROW).map(id => {
        const known = names.get(id)
        return this.#style(known?.colour ?? 'gray', known?.member.label ?? '?')
      })
      this.line(`  ${at === 0 ? 'ring' : '    '} ${cells.join('')}`)
    }
  }

  #style(style: (typeof COLOURS)[number] | 'bold' | 'gray', text: string): string {
    return this.#terminal ? styleText(style, text) : text
  }
}
