from .source_answers import answer_source as answer_source
