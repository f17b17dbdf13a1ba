"""What people call their columns, in several languages."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

__all__ = ["says_id", "words_mean", "words_of"]

_ID_WORDS = {
    *("id", "ids", "nr", "no", "num", "number", "nummer", "numero", "key", "code", "uuid", "guid", "hash"),
    *("idx", "index", "编号", "番号", "номер"),
}

_MEANINGS = {
    "user": """
        user uid customer client visitor member buyer reader listener
        viewer reviewer account person subscriber player nutzer benutzer
        kunde kunden kundin utilisateur usager usuario cliente utente
        gebruiker klant kullanıcı użytkownik пользователь клиент
        покупатель читатель 用户 用戶 会员 客户 顾客 ユーザー ユーザ 顧客 会員
        사용자 고객 회원 مستخدم
    """,
    "item": """
        item iid product movie film book article song track video game
        app sku asin isbn ean business venue place restaurant recipe
        news content document doc artist anime course show episode
        podcast artikel produkt buch lied produit livre producto
        artículo película libro prodotto articolo produto filme livro
        ürün przedmiot товар фильм книга продукт 商品 物品 产品 电影 图书
        アイテム 作品 映画 상품 아이템 영화 منتج
    """,
    "time": """
        time timestamp ts date datetime when created createdat unixtime
        unixreviewtime eventtime eventdate position sequence seq zeit
        zeitstempel zeitpunkt datum heure horodatage temps fecha hora
        tiempo ora data tijd zaman время дата 时间 日期 时间戳 時間 日時 日付
        タイムスタンプ 시간 날짜 일시 وقت
    """,
    "rating": """
        rating score stars star overall grade bewertung sterne note
        notation calificación puntuación valutazione voto nota avaliação
        beoordeling puan ocena оценка рейтинг 评分 评级 評価 평점 별점
    """,
    "weight": "weight sampleweight gewicht poids peso вес 权重 重み 가중치",
    "label": """
        label click clicked isclick like liked islike target klick geklickt
        gemocht clic метка клик 标签 点击 ラベル 클릭
    """,
    "part": "part split partition subset fold set teil часть 划分 分割",
    "title": """
        title name label caption movietitle productname itemname
        booktitle titel titre título titolo nombre nom nome название имя
        标题 名称 タイトル 題名 제목 이름
    """,
}


def _plain(word: str) -> str:
    """Lower case without accents, so that `Película` and `pelicula` are one word."""
    folded = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in folded if not unicodedata.combining(letter))


@cache
def _vocabulary(meaning: str) -> frozenset[str]:
    return frozenset(map(_plain, _MEANINGS[meaning].split()))


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case and without accents.

    >>> words_of("numVotes")
    ['num', 'votes']
    """
    parted = re.sub(r"(?<=[^\x00-\x7f])(?=[A-Z])|(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    return [_plain(word) for word in re.findall(r"[^\W_]+", parted)]


def says_id(name: str) -> bool:
    """Whether a column's name has a word for id: `movie_id`, `Kunden-Nr`.

    >>> says_id("userId"), says_id("user")
    (True, False)
    """
    return any(word in _ID_WORDS for word in words_of(name))


def words_mean(name: str, meaning: str) -> bool:
    """Whether a column's name means `meaning`, leaving words for id aside.

    >>> words_mean("userId", "user"), words_mean("ID_Película", "item"), words_mean("用户ID", "user")
    (True, True, True)
    >>> words_mean("user_agent", "user")
    False
    """
    return "".join(word for word in words_of(name) if word not in _ID_WORDS) in _vocabulary(meaning)
