/** Everything the views stand on, put together. */

import { effect, signal } from "@preact/signals";
import { BoardStream } from "../stream/stream";
import { Board } from "./board";
import { Deafness } from "./deafness";
import { Filter } from "./filter";
import { IncidentPanel } from "./incidents";
import { Pacer } from "./pacer";
import { ThemeChoice } from "./theme";

export class Store {
  readonly board = new Board();
  readonly deafness = new Deafness(this.board);
  readonly filter = new Filter();
  readonly incidents = new IncidentPanel("api/incidents");
  readonly theme = new ThemeChoice();
  /** When the server last gave a sign of life, on the clock of `board.clock`; null: never. */
  readonly life = signal<number | null>(null);
  private readonly pacer = new Pacer((messages) => this.board.apply(messages));
  private readonly stream: BoardStream;

  constructor(url: string) {
    this.stream = new BoardStream(url, {
      message: (message) => {
        this.pacer.offer(message);
        this.mark(); // again: it may just have told what time it is
      },
      link: (link) => {
        this.pacer.flush();
        this.board.sight.turn(link);
      },
      life: () => this.mark(),
      dropped: (count) => {
        this.board.dropped.value = count;
      },
    });
  }

  /** Connect, and go on until the returned function is called. */
  start(): () => void {
    const stops = [
      this.theme.start(),
      effect(() => {
        document.title = titleOf(this.board);
      }),
    ];
    this.filter.start();
    this.incidents.start();
    this.board.clock.start();
    this.stream.start();
    return () => {
      this.stream.stop();
      this.board.clock.stop();
      this.incidents.stop();
      this.filter.stop();
      for (const stop of stops) stop();
    };
  }

  private mark(): void {
    this.life.value = Math.floor(this.board.clock.read() / 1000) * 1000; // whole seconds: it is read in those
  }
}

/** The tab's title tells, from the corner of an eye, how much is in trouble; `?` when that cannot be known. */
function titleOf(board: Board): string {
  const title = "Background Services Monitor";
  if (board.facts.value !== null && board.sight.dark.value) return `(?) ${title}`;
  return board.trouble.value > 0 ? `(${board.trouble.value}) ${title}` : title;
}
